"""Compiles the kernels, `engine/kernels/kernels.cpp`, once for each kind of processor; misread picks one at run time.

They are plain shared libraries, loaded by ctypes: one file serves every version of Python, and so does a wheel.
They are optional. Without a compiler misread installs as pure Python and trains with PyTorch.
"""

import copy
import os
import platform
from glob import glob

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

KERNELS = "src/misread/engine/kernels"
FLAGS = ["-std=c++20", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math"]  # warnings are errors in the tests only
BUILDS: dict[str, list[str]] = {"plain": []}  # on 64-bit ARM that is NEON
if platform.machine().lower() in ("x86_64", "amd64"):
    BUILDS["avx2"] = ["-march=x86-64-v3"]
    BUILDS["avx512"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
    BUILDS["avx512bf16"] = ["-march=x86-64-v4", "-mavx512bf16", "-mprefer-vector-width=512"]


class BuildKernels(build_ext):
    """Shared libraries instead of extension modules: no Python in the file's name, none of its symbols."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or True  # as many compilers as processors

    def build_extension(self, ext: Extension) -> None:
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)  # all builds have an object file of the same name
        super(BuildKernels, own).build_extension(ext)

    def get_ext_filename(self, fullname: str) -> str:
        return os.path.join(*fullname.split(".")) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []

    def get_libraries(self, ext: Extension) -> list[str]:
        return []


class PlatformWheel(bdist_wheel):
    """One wheel a platform for every Python 3; where no kernel could be compiled, one for every platform."""

    def run(self) -> None:
        self.run_command("build_ext")
        if not any(map(os.path.exists, self.get_finalized_command("build_ext").get_outputs())):
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        *_, wheel_platform = super().get_tag()
        return "py3", "none", wheel_platform


if __name__ == "__main__":
    setup(
        cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
        ext_modules=[
            Extension(
                f"misread.engine._kernels_{build}",
                [f"{KERNELS}/kernels.cpp"],
                depends=glob(f"{KERNELS}/*"),
                language="c++",
                optional=True,
                extra_compile_args=[*FLAGS, *flags],
            )
            for build, flags in BUILDS.items()
        ],
    )
