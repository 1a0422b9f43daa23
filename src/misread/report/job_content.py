"""The content of the page of predicted shards, as plain values. `scale` gathers it, `job_sections` makes a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from misread.analysis.calibration import Calibration


@dataclass(frozen=True)
class JobImage:
    """One of the few images that the page shows. Classes are indices.

    shard, row, key: where it is in the job. label: None without one.
    margin: the probability of the prediction minus that of the second class.
    probs:  (K,) float32, or None if the job kept none. pixels: (H, W, C) uint8, or None if it has no picture.
    """

    shard: str
    row: int
    key: str
    label: int | None
    prediction: int
    confidence: float
    margin: float
    probs: np.ndarray | None = field(default=None, repr=False)
    pixels: np.ndarray | None = field(default=None, repr=False)


class Doubt(NamedTuple):
    """A doubtful label. image: its position in `JobContent.images`. suggested: a class."""

    image: int
    suggested: int


class UnreadImage(NamedTuple):
    """An image that could not be read, and why."""

    shard: str
    row: int
    key: str
    error: str


class FailedShard(NamedTuple):
    """A shard that could not be predicted, and why."""

    shard: str
    path: str
    error: str


@dataclass(frozen=True)
class JobContent:
    """What the page of a job shows. K classes.

    images:      those that the page shows, in the order of the job. Lists below are positions in them.
    confusion:   (K, K) int64, labels (row) and predictions (column) of all images with a label.
    by_class:    a line a class: class, n (images read as it), confidence (their mean; NaN without images).
    bins:        a line for each bin of confidence: low, high, n of all images with a prediction, confidence (mean).
    calibration: of the images with a label; None if there are none.
    n:           all images. n_unread: those that could not be read. n_unlabelled: the others without a label.
    mistakes:    the most confident of the misread images. unsure: the images with the lowest margin.
    doubtful:    the most doubtful labels; None if the job has no labels or no probabilities.
    flagged:     how many labels confident learning calls wrong, if `doubtful` is not None.
    unread:      the first images that could not be read.
    failed:      the first shards that failed. n_failed: how many did.
    facts, notes: as in `Content`.
    """

    title: str
    subtitle: str
    class_names: Sequence[str]
    images: Sequence[JobImage]
    confusion: np.ndarray
    by_class: pd.DataFrame
    bins: pd.DataFrame
    calibration: Calibration | None
    n: int
    n_unread: int
    n_unlabelled: int
    mistakes: Sequence[int]
    unsure: Sequence[int]
    doubtful: Sequence[Doubt] | None
    flagged: int
    unread: Sequence[UnreadImage]
    failed: Sequence[FailedShard]
    n_failed: int
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
