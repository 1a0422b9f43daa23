"""Predictions for picture files, however many: few of them are in memory at any time."""

from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from misread.data.decode import decode
from misread.data.geometry import Geometry, fit_picture

if TYPE_CHECKING:
    from misread.runs.array_run import ArrayRun
    from misread.runs.stored_run import StoredRun


def predict_files(
    run: "ArrayRun | StoredRun", paths: Sequence[str]
) -> Generator[tuple[str, np.ndarray | str], None, None]:
    """Each file, in order, with the probs (K,) float32 that the run predicts, or with why it cannot be read.

    Pictures may have any size; each is first brought to the way the training images are, as by `Run.predict_file`.
    Close the generator (`contextlib.closing`) when you leave it early.
    """
    geometry = Geometry(**run.record.data.geometry)
    prepare = partial(fit_picture, geometry=geometry)
    with closing(decode(paths, prepare, geometry.height * geometry.width)) as batches:
        start = 0
        for batch in batches:
            probs = iter(() if batch.pixels is None else run.predict(batch.pixels))
            stop = start + len(batch.outcomes)
            for path, outcome in zip(paths[start:stop], batch.outcomes, strict=True):
                yield path, next(probs) if outcome is None else str(outcome)
            start = stop
