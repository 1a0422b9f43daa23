"""Why images were misread: the causes, and the nearest training images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from misread.analysis.neighbours import Neighbours
from misread.analysis.records import with_names
from misread.data.image_set import Split
from misread.messages import Message


@dataclass(frozen=True)
class Explanation:
    """Why images were misread.

    reasons:    one line for each misread image, in the order of `Scored.misread_positions`. Columns: index (its row),
                cause (one of `causes.Cause`), cause_probability (how probable that cause is at least; if none is
                named, the most probable one), evidence (in a few words).
    neighbours: one line for each of the nearest training images by the network's features; see `neighbour_table`.
    training_images_of: (n,) int64 rows of the training split -> images (n, H, W, C) uint8.
    evidence:   the last column of `reasons`, as messages.
    advice:     what to try if most images were misread by the network's own mistakes; else empty.
    """

    reasons: pd.DataFrame
    neighbours: pd.DataFrame
    training_images_of: Callable[[np.ndarray], np.ndarray]
    evidence: Sequence[Message] = ()
    advice: str = ""


COLUMNS = ("index", "place", "training_index", "training_file", "training_label", "distance")


@with_names
def no_neighbours() -> pd.DataFrame:
    """The table of neighbours if the training images are not known: no line."""
    return pd.DataFrame(columns=list(COLUMNS))


@with_names
def neighbour_table(rows: np.ndarray, neighbours: Neighbours, train: Split, class_names: Sequence[str]) -> pd.DataFrame:
    """One line for each nearest training image, the nearest first within an image.

    rows: (Q,) int64, the images' rows in their source. neighbours: of these Q images, among the images of `train`.
    Columns: index (the image's row), place (1 is the nearest), training_index, training_file, training_label, distance.
    """
    count = neighbours.positions.shape[1]
    positions = neighbours.positions.ravel()
    return pd.DataFrame(
        {
            "index": np.repeat(rows, count),
            "place": np.tile(np.arange(1, count + 1), len(rows)),
            "training_index": train.rows[positions],
            "training_file": [train.files[i] for i in positions] if train.files is not None else "",
            "training_label": np.array(class_names, dtype=object)[train.labels[positions]],
            "distance": neighbours.distances.ravel(),
        }
    )
