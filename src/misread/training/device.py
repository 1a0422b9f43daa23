"""The device and the number of threads that compute."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from misread.errors import RecipeError
from misread.names import nearest

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device with this name; `auto` is CUDA if available, else the CPU.

    Small networks train faster on the CPU than on Apple's MPS, so `auto` never chooses MPS.
    Raises RecipeError: an unknown name, or a device that this machine or this build of torch does not have.
    """
    if name not in DEVICES:
        meant = "cuda" if name.lower() == "gpu" else name
        raise RecipeError(f"There is no device {name!r}.{nearest(meant, DEVICES)} Known: {', '.join(DEVICES)}.")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available[name]:
        raise RecipeError(f"The device {name!r} is not available on this machine. Use --device cpu, or auto.")
    return torch.device(name)


def check_threads(threads: int | None) -> None:
    """Raises RecipeError: fewer than one thread. None stands for torch's default."""
    if threads is not None and threads < 1:
        raise RecipeError(f"{threads} threads are not possible. Use 1 or more.")


@contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """Let torch compute with this many threads inside the block, and yield the number. None keeps torch's default."""
    before = torch.get_num_threads()
    check_threads(threads)
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
