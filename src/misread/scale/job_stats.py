"""What a job's predictions come to, in one pass: a task for every shard, whose results are merged.

What is kept has a bounded size, however many images there are: matrices (K, K), bins, and lists of `top` images.
Merged over any division into shards it is exactly what all images give at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from misread.analysis.calibration import BINS, confidence_bins
from misread.analysis.confusion import confusion_counts
from misread.data.parquet_pictures import import_pyarrow
from misread.errors import RunError
from misread.scale.arrow import read_about
from misread.scale.exact_sums import ExactSums
from misread.scale.run_job import check_output

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("row", "key", "label", "prediction", "confidence", "margin", "error")


class Kept(NamedTuple):
    """An image of a list, sorted by `order`. shard: its place in the job. label: a class, or -1 without one."""

    order: float
    shard: int
    row: int
    key: str
    label: int
    prediction: int
    confidence: float
    margin: float


class Unread(NamedTuple):
    """An image that could not be read. shard: its place in the job."""

    shard: int
    row: int
    key: str
    error: str


@dataclass
class JobStats:
    """The results of one shard or of several. K classes, BINS bins of confidence as in `reliability_table`.

    confusion:     (K, K) int64, labels (row) and predictions (column) of the images with a label.
    by_prediction: how many images were read as each class, and the sums of their confidences.
    bins:          the same for each bin of confidence. labelled_bins: of the images with a label.
    right:         (BINS,) int64, images in each bin that were read right.
    images:        all rows. unread: those of them that could not be read. unlabelled: images without a label.
    other_labels:  images whose label is no class; they count as unlabelled too.
    mistakes:      at most `top` misread images, the most confident first.
    unsure:        at most `top` of all images, the lowest margin first.
    errors:        at most `top` images that could not be read, the first of the job.
    """

    top: int
    confusion: np.ndarray
    by_prediction: ExactSums
    bins: ExactSums = field(default_factory=lambda: ExactSums(BINS))
    labelled_bins: ExactSums = field(default_factory=lambda: ExactSums(BINS))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    images: int = 0
    unread: int = 0
    unlabelled: int = 0
    other_labels: int = 0
    mistakes: list[Kept] = field(default_factory=list)
    unsure: list[Kept] = field(default_factory=list)
    errors: list[Unread] = field(default_factory=list)

    @classmethod
    def empty(cls, classes: int, top: int) -> "JobStats":
        return cls(top, np.zeros((classes, classes), np.int64), ExactSums(classes))

    def merge(self, other: "JobStats") -> None:
        """Take over what another shard has. The order of merging does not matter."""
        self.confusion += other.confusion
        self.right += other.right
        for name in ("by_prediction", "bins", "labelled_bins"):
            getattr(self, name).merge(getattr(other, name))
        for name in ("images", "unread", "unlabelled", "other_labels"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("mistakes", "unsure", "errors"):
            setattr(self, name, nsmallest(self.top, getattr(self, name) + getattr(other, name)))


@dataclass(frozen=True)
class StatsTask:
    """A file of predictions. shard: its place in the job. sha256: as `_SUCCESS` has it; empty if it is not known."""

    file: Path
    shard: int
    top: int
    sha256: str = ""


def shard_stats(task: StatsTask, report: Callable[[int], None]) -> JobStats:
    """`JobStats` of a shard. Raises RunError: the file is damaged."""
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    check_output(task.file, task.sha256)
    names = read_about(task.file)["class_names"]
    stats = JobStats.empty(len(names), task.top)
    try:
        with pq.ParquetFile(task.file, page_checksum_verification=True) as read:
            for group in range(read.num_row_groups):
                _count(stats, task.shard, names, read.read_row_group(group, COLUMNS, use_threads=False))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunError(f"{task.file} is damaged: {error}. Remove it, and run `misread predict` again.") from None
    return stats


def _count(stats: JobStats, shard: int, names: Sequence[str], table: "pa.Table") -> None:
    """Adds the rows of a row group."""
    import pyarrow.compute as compute

    failed = table.filter(compute.is_valid(table["error"])).slice(0, stats.top)
    errors = [Unread(shard, *values) for values in zip(*_lists(failed, "row", "key", "error"), strict=True)]
    stats.errors = nsmallest(stats.top, stats.errors + errors)
    read = table.filter(compute.is_null(table["error"])).combine_chunks()
    stats.images += len(table)
    stats.unread += len(table) - len(read)
    labels, predicted = _classes(read["label"], names), _classes(read["prediction"], names)
    confidence, margin = (read[name].to_numpy() for name in ("confidence", "margin"))
    labelled, bins, right = labels >= 0, confidence_bins(confidence), labels == predicted
    stats.unlabelled += int((~labelled).sum())
    stats.other_labels += int((~labelled).sum()) - read["label"].null_count
    stats.confusion += confusion_counts(labels[labelled], predicted[labelled], len(names))
    stats.by_prediction.add(predicted, confidence)
    stats.bins.add(bins, confidence)
    stats.labelled_bins.add(bins[labelled], confidence[labelled])
    stats.right += np.bincount(bins[right], minlength=BINS)
    rows = _Rows(shard, read, labels, predicted, confidence, margin)
    wrong = np.flatnonzero(labelled & ~right)
    stats.mistakes = nsmallest(stats.top, stats.mistakes + rows.first(-confidence, wrong, stats.top))
    stats.unsure = nsmallest(stats.top, stats.unsure + rows.first(margin, np.arange(len(read)), stats.top))


def _lists(table: "pa.Table", *columns: str) -> list[list[Any]]:
    return [table[column].to_pylist() for column in columns]


def _classes(texts: "pa.ChunkedArray", names: Sequence[str]) -> np.ndarray:
    """(n,) int64, the classes that texts name; -1 for null and for what is no class."""
    import pyarrow.compute as compute

    found = compute.index_in(texts, import_pyarrow().array(names))
    return compute.fill_null(found, -1).to_numpy().astype(np.int64)


@dataclass(frozen=True)
class _Rows:
    """The rows of a group that have a prediction."""

    shard: int
    table: "pa.Table"
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    margin: np.ndarray

    def first(self, values: np.ndarray, among: np.ndarray, top: int) -> list[Kept]:
        """The rows of `among` with the lowest values, at most `top`, in this order; equals in that of the rows."""
        order = among[np.argsort(values[among], kind="stable")[:top]]
        table = self.table.take(order)
        columns = (
            values[order].tolist(), *_lists(table, "row", "key"), self.labels[order].tolist(),
            self.predicted[order].tolist(), self.confidence[order].tolist(), self.margin[order].tolist(),
        )  # fmt: skip
        return [Kept(value, self.shard, *others) for value, *others in zip(*columns, strict=True)]
