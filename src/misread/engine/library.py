"""The compiled kernels: which builds of `kernels.cpp` there are, and the best of them for this processor."""

import ctypes as c
import os
from functools import cache
from pathlib import Path

from misread.errors import MisreadError

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
    """One build, beside this file or in the folder that MISREAD_KERNELS names; None where it was not compiled."""
    folder = Path(os.environ.get("MISREAD_KERNELS") or Path(__file__).parent)
    if not folder.is_dir():
        raise MisreadError(f"MISREAD_KERNELS is {folder}, which is not a folder. Unset it to use misread's own kernels.")
    path = folder / f"_kernels_{build}.so"
    return _with_signatures(c.CDLL(str(path.resolve()))) if path.is_file() else None


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
