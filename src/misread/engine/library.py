"""The compiled kernels: which builds of `kernels.cpp` there are, and the best of them for this processor."""

import ctypes as c
from functools import cache
from importlib import machinery
from pathlib import Path

# the best first; each is what setup.py compiled, where the machine that installed misread had a compiler
BUILDS = ("avx512bf16", "avx512", "avx2", "plain")


class LayerSpec(c.Structure):
    """`Spec` in kernels.cpp."""

    _fields_ = (
        *((name, c.c_int32) for name in (
            "kind", "relu", "in_h", "in_w", "in_c", "kernel_h", "kernel_w", "top", "left", "out_h", "out_w", "units",
            "pool", "normalised",
        )),
        *((name, c.c_float) for name in ("momentum", "epsilon", "dropout")),
    )  # fmt: skip


class Hyper(c.Structure):
    """`Hyper` in kernels.cpp."""

    _fields_ = tuple((n, c.c_float) for n in ("beta_1", "beta_2", "epsilon", "weight_decay", "label_smoothing"))


@cache
def load_library() -> c.CDLL | None:
    """The fastest build that this processor can run; None where misread was installed without a compiler."""
    plain = _open("plain")
    if plain is None:
        return None
    fit = BUILDS[plain.engine_first_build() :]
    return next((library for build in fit if (library := _open(build)) is not None), None)


def _open(build: str) -> c.CDLL | None:
    for suffix in machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_chain_{build}{suffix}")
        if path.is_file():
            return _with_signatures(c.CDLL(str(path)))
    return None


def _with_signatures(library: c.CDLL) -> c.CDLL:
    """Pointers are passed as whole numbers: the addresses of arrays that the caller keeps alive."""
    p = c.c_void_p
    library.engine_new.restype = p
    library.engine_new.argtypes = [c.POINTER(LayerSpec), *[c.c_int] * 5, Hyper, c.c_uint32]
    library.engine_free.argtypes = [p]
    library.engine_copy.argtypes = [p, c.c_int, c.c_int, p, p, c.c_int]
    library.engine_copy_norm.argtypes = [p, c.c_int, c.c_int, p, p, p, p, c.c_int]
    library.engine_seek.argtypes = [p, c.c_int64]
    library.engine_train.argtypes = [p, c.c_int, p, p, p, c.c_int64, p, p, p]
    library.engine_predict.argtypes = [p, c.c_int, p, p, c.c_int64, p]
    return library


def build_name(library: c.CDLL) -> str:
    """Which of BUILDS a library is."""
    return next(build for build in BUILDS if f"_chain_{build}." in Path(library._name).name)
