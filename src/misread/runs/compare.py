"""`compare`: two runs, or predictions from anywhere, on the same images."""

from pathlib import Path

import numpy as np

from misread.analysis.comparison import Comparison
from misread.analysis.predictions import Predictions
from misread.errors import DataError, MisreadError, RunError
from misread.runs.run import Run, open_run

BLOCK = 4096  # images compared at a time


def compare(a: Run | Predictions | str | Path, b: Run | Predictions | str | Path, split: str = "test") -> Comparison:
    """What B mends and what it breaks of what A read.

    a, b: runs, run folders, or predictions of any model. Runs may have trained on different data, as long as the
    images of the split are the same.
    Raises DataError: the images, their labels or classes are not the same, or it cannot be known.
    """
    a, b = (x if isinstance(x, Run | Predictions) else open_run(x) for x in (a, b))
    first, second = (x if isinstance(x, Predictions) else x.predictions(split) for x in (a, b))
    comparison = Comparison(first, second, _names(a, b))
    if not (isinstance(a, Run) and isinstance(b, Run) and a.record.data.fingerprint == b.record.data.fingerprint):
        _check_pixels(first, second)
    return comparison


def _names(a: Run | Predictions, b: Run | Predictions) -> tuple[str, str]:
    """What to call the two: the run folder's name, in full where both have the same; else the predictions' name."""
    names = [x.folder.name if isinstance(x, Run) else x.name for x in (a, b)]
    if names[0] == names[1]:
        names = [str(x.folder) if isinstance(x, Run) else "" for x in (a, b)]
    return names[0] or "A", names[1] or "B"


def _check_pixels(a: Predictions, b: Predictions) -> None:
    """Rows and labels can agree by chance, as in two sets that count 0, 1, ..., 9 over and over; pixels do not.

    Predictions without images have to be believed.
    """
    if not (a.has_images and b.has_images):
        return
    try:
        blocks = [slice(start, start + BLOCK) for start in range(0, len(a), BLOCK)]
        same = all(np.array_equal(a.images[block], b.images[block]) for block in blocks)
    except MisreadError as error:
        raise RunError(
            f"A and B are not of the same data, and whether their {a.split} images are the same cannot be checked: "
            f"{error}"
        ) from None
    if not same:
        raise DataError(
            f"The {a.split} images of A and B are not the same pictures, though they have the same labels.\n"
            "Two models are compared on the same images: score both on the same data and split."
        )
