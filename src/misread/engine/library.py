"""The compiled kernels: which builds of `kernels/kernels.cpp` there are, and the best of them for this processor."""

import ctypes as c
import os
from functools import cache
from pathlib import Path

from misread.errors import MisreadError
from misread.messages import Message

ABI = 4  # `ABI` in kernels/abi.h
BUILDS = ("avx512bf16", "avx512", "avx2", "plain")  # the best first; setup.py compiles them where there is a compiler


class LayerSpec(c.Structure):
    """`Spec` in kernels/abi.h."""

    _fields_ = (
        *((name, c.c_int32) for name in (
            "kind", "relu", "in_h", "in_w", "in_c", "kernel_h", "kernel_w", "top", "left", "out_h", "out_w", "units",
            "pool", "normalised",
        )),
        *((name, c.c_float) for name in ("momentum", "epsilon", "dropout")),
    )  # fmt: skip


class Hyper(c.Structure):
    """`Hyper` in kernels/abi.h: the settings of Adam and of the loss."""

    _fields_ = tuple((n, c.c_float) for n in ("beta_1", "beta_2", "epsilon", "weight_decay", "label_smoothing"))


class Convolution(c.Structure):
    """`Convolution` in kernels/abi.h."""

    _fields_ = tuple((n, c.c_int64) for n in ("batch", "height", "width", "channels", "filters", "parts", "turned"))


class Images(c.Structure):
    """`Images` in kernels/abi.h."""

    _fields_ = tuple((n, c.c_int64) for n in ("batch", "height", "width", "channels", "parts"))


def load_library() -> c.CDLL | None:
    """The fastest build that this processor can run; None where there is none (`why_unavailable` gives the reason)."""
    best = _best()
    return None if best is None else best[1]


def build_name() -> str | None:
    """The name of the build that `load_library` gives, one of BUILDS."""
    best = _best()
    return None if best is None else best[0]


def why_unavailable() -> str:
    """Why `load_library` gives None."""
    numbers = [_abi(c.CDLL(str(path))) for build in BUILDS if (path := _path(build))]
    if all(number == ABI for number in numbers):
        if os.environ.get("MISREAD_KERNELS"):
            return Message("engine.folder", folder=str(_folder()))
        return Message("engine.no-compiler")
    return Message("engine.version", found=str(numbers[0]), wanted=str(ABI))


def builds_not_used() -> dict[str, str]:
    """The builds that are better than the one that `load_library` gives, and why each is not used."""
    plain = _open("plain")
    first = 0 if plain is None else plain.engine_first_build()
    used = build_name()
    better = BUILDS if used is None else BUILDS[: BUILDS.index(used)]
    return {build: _why_not(build, BUILDS.index(build) >= first) for build in better}


def _why_not(build: str, fits: bool) -> str:
    if not fits:
        return "this processor lacks its instructions"
    if _path(build) is None:
        return "it was not compiled"
    return "it is of another version of misread" if _open(build) is None else "there is no build plain"


@cache
def _best() -> tuple[str, c.CDLL] | None:
    plain = _open("plain")
    if plain is None:
        return None
    fit = BUILDS[plain.engine_first_build() :]
    return next(((build, library) for build in fit if (library := _open(build)) is not None), None)


def _folder() -> Path:
    """Where the libraries are: beside this file, or where MISREAD_KERNELS says."""
    folder = Path(os.environ.get("MISREAD_KERNELS") or Path(__file__).parent)
    if not folder.is_dir():
        raise MisreadError(
            f"MISREAD_KERNELS is {folder}, which is not a folder. Unset it to use misread's own kernels."
        )
    return folder.resolve()


def _path(build: str) -> Path | None:
    path = _folder() / f"_kernels_{build}.so"
    return path if path.is_file() else None


def _open(build: str) -> c.CDLL | None:
    """A build, if it was compiled and has this version's interface."""
    path = _path(build)
    if path is None:
        return None
    library = c.CDLL(str(path))
    return _with_signatures(library) if _abi(library) == ABI else None


def _abi(library: c.CDLL) -> int:
    """The number of the library's interface; the first ones had no number, here 1."""
    return library.engine_abi() if hasattr(library, "engine_abi") else 1


def _with_signatures(library: c.CDLL) -> c.CDLL:
    """Pointers are passed as integers: the addresses of arrays that the caller keeps alive."""
    p, i32, i64 = c.c_void_p, c.c_int32, c.c_int64
    status: dict[str, list[type]] = {
        "engine_new": [c.POINTER(LayerSpec), i64, i64, i64, i32, c.POINTER(Hyper), c.c_uint32, c.POINTER(p)],
        "engine_copy": [p, i64, i32, p, p, i32],
        "engine_copy_norm": [p, i64, i32, p, p, p, p, i32],
        "engine_start_training": [p, p, i64, p, p, i64, p, i64, i64, p, p],
        "engine_start_prediction": [p, p, i64, p],
        "engine_work": [p, i32],
        "convolution_scratch": [c.POINTER(Convolution), c.POINTER(i64)],
        "convolution_run": [c.POINTER(Convolution), p, p, p, p, p],
        "convolution_gradient": [c.POINTER(Convolution), p, p, p, p, p],
        "gelu_run": [c.POINTER(Images), p, p, p],
        "gelu_gradient": [c.POINTER(Images), p, p, p, p],
        "max_pooling_run": [c.POINTER(Images), p, p, p, p],
        "max_pooling_gradient": [c.POINTER(Images), p, p, p, p],
    }
    for name, arguments in status.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, i32
    for function in (library.engine_free, library.engine_cancel):
        function.argtypes, function.restype = [p], None
    for function in (
        library.engine_spec_size,
        library.engine_hyper_size,
        library.convolution_size,
        library.images_size,
    ):
        function.restype = i64
    library.engine_error.restype = c.c_char_p
    return library
