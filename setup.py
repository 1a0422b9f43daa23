"""The compiled kernels: `engine/kernels/kernels.cpp`, built once for each kind of processor.

They are optional: without a compiler misread installs all the same and trains with PyTorch alone.
"""

import platform

from setuptools import Extension, setup

X86 = platform.machine().lower() in ("x86_64", "amd64")
BUILDS = {"plain": []}
if X86:
    BUILDS["avx2"] = ["-march=x86-64-v3"]
    BUILDS["avx512"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
    BUILDS["avx512bf16"] = ["-march=x86-64-v4", "-mavx512bf16", "-mprefer-vector-width=512"]

setup(
    ext_modules=[
        Extension(
            f"misread.engine._chain_{name}",
            ["src/misread/engine/kernels/kernels.cpp"],
            language="c++",
            optional=True,
            extra_compile_args=["-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-w", *flags],
        )
        for name, flags in BUILDS.items()
    ]
)
