"""Which device trains, and with how many threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from misread.errors import RecipeError
from misread.names import nearest

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; `auto` takes CUDA where there is one, else the CPU.

    Small networks train faster on the CPU than through Apple's MPS, so MPS is taken only when it is asked for.
    Raises RecipeError: an unknown name, or a device that this machine or this build of torch has not.
    """
    if name not in DEVICES:
        raise RecipeError(f"There is no device {name!r}.{nearest(name, DEVICES)} Known: {', '.join(DEVICES)}.")
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if has["cuda"] else "cpu")
    if not has[name]:
        raise RecipeError(f"The device {name!r} is not to be had here. Use --device cpu, or auto.")
    return torch.device(name)


@contextmanager
def using_threads(threads: int | None) -> Iterator[int]:
    """torch computes with this many threads inside; None leaves its choice, the number of cores. Gives the number."""
    before = torch.get_num_threads()
    if threads is not None and threads < 1:
        raise RecipeError(f"{threads} threads cannot compute anything; ask for 1 or more.")
    torch.set_num_threads(threads or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
