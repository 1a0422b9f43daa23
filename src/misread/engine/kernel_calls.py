"""Calls of single layers in the compiled kernels, which share their work over PyTorch's threads."""

import ctypes
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from misread.engine.library import load_library

MAX_PARTS = 64  # MAX_THREADS in kernels/abi.h


def parts() -> int:
    """Into how many parts a call divides its work: one for each of PyTorch's threads."""
    return min(torch.get_num_threads(), MAX_PARTS)


def call(name: str, shape: ctypes.Structure, *tensors: Tensor | None) -> None:
    """Call a function of the kernels for this shape, with the addresses of these tensors; None is a null pointer.

    Raises ValueError: it refuses the shape.
    """
    _call(name, shape, *(None if tensor is None else tensor.data_ptr() for tensor in tensors), parallel())


def count(name: str, shape: ctypes.Structure) -> int:
    """The number that a function of the kernels gives for this shape. Raises ValueError: it refuses the shape."""
    number = ctypes.c_int64()
    _call(name, shape, ctypes.byref(number))
    return number.value


def _call(name: str, *arguments: object) -> None:
    library = load_library()
    assert library is not None
    if getattr(library, name)(*arguments):
        raise ValueError(library.engine_error().decode())


@cache
def parallel() -> int | None:
    """The address of GOMP_parallel in PyTorch's own OpenMP; None if PyTorch has another."""
    path = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    try:
        return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None
