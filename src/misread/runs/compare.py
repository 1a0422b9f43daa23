"""`compare`: two runs, or predictions from anywhere, on the same images."""

from pathlib import Path

from misread.runs.comparison import Comparison, compare_predictions
from misread.runs.predictions import Predictions
from misread.runs.run import Run, open_run


def compare(a: Run | Predictions | str | Path, b: Run | Predictions | str | Path, split: str = "test") -> Comparison:
    """What B fixes and what it breaks, compared with A.

    a, b: runs, run folders, or predictions of any model. Runs may have trained on different data, as long as the
    images of the split are the same.
    Raises DataError: the images, their labels or classes are not the same.
    Raises RunError: a folder is no run; or the runs have different data, and their images cannot be loaded to check.
    """
    return compare_predictions(_predictions(a, split), _predictions(b, split))


def compare_on_fixed_labels(a: Run, b: Run, split: str = "test") -> Comparison | None:
    """`compare` by the labels that B's label patch fixed; None if B was trained without one."""
    if b.record.label_patch is None:
        return None
    found = compare(a, b, split)
    labels = b.split_with_fixes(split).labels
    return Comparison(found.a.with_labels(labels), found.b.with_labels(labels), found.names)


def _predictions(model: Run | Predictions | str | Path, split: str) -> Predictions:
    if isinstance(model, Predictions):
        return model
    return (model if isinstance(model, Run) else open_run(model)).predictions(split)
