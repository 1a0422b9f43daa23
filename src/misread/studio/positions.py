"""The split that a request names, and the positions of images in it."""

import numpy as np
from starlette.exceptions import HTTPException
from starlette.requests import Request

from misread.studio.runs import SPLITS


def split_of(request: Request, *more: str) -> str:
    """The split in the address. more: what else it may name. Raises HTTPException: there is no such split."""
    split: str = request.path_params["split"]
    if split not in (*SPLITS, *more):
        raise HTTPException(404, f"There is no split {split!r}; there are {', '.join((*SPLITS, *more))}.")
    return split


def positions_in(text: str, n: int) -> np.ndarray:
    """The positions in a text like "5,0,7", in its order: (m,) int64, each of them in a split of n images.

    Raises HTTPException: one is no whole number, or there is no such image.
    """
    try:
        positions = np.array([int(part) for part in text.split(",") if part], np.int64)
    except (ValueError, OverflowError):
        raise HTTPException(400, "rows must be whole numbers with commas between them.") from None
    if len(positions) and (positions.min() < 0 or positions.max() >= n):
        raise HTTPException(404, f"There is no such image; the split has {n:,}.")
    return positions
