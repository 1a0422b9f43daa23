"""Confident learning over predicted shards: two passes, each a task for every shard whose results are merged.

The first pass sums up the probability of each image's label, which gives the thresholds. The second counts the
confident joint and keeps a bounded list of the most doubtful labels and one of the most confident mistakes. Merged over
any division into shards, both are exactly what `analysis.label_issues` gives for all images at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from misread.analysis.label_issues import (
    check_method,
    confident_classes,
    margins,
    mean_of_sums,
    self_confidence,
)
from misread.data.parquet_pictures import import_pyarrow
from misread.errors import RunError
from misread.scale.arrow import read_about
from misread.scale.exact_sums import ExactSums
from misread.scale.run_job import check_output, read_success, results
from misread.workers import Cluster

Report = Callable[[int], None]


class Image(NamedTuple):
    """An image of a shard; `order` is its place in a list. Classes are names, and `suggested` as in `LabelIssues`."""

    order: tuple[float, ...]
    shard: str
    row: int
    key: str
    label: str
    prediction: str
    suggested: str
    confidence: float
    self_confidence: float
    margin: float
    flagged: bool


@dataclass
class LabelStats:
    """The results of the second pass, for one shard or for several.

    joint:     (K, K) int64, as `confident_joint`. confusion: (K, K) int64, labels (row) and predictions (column).
    images:    that have a label and a prediction. others: that lack one, or whose label is no class.
    doubtful:  at most `top` images in the order of `label_issues`. mistakes: the same for the most confident mistakes.
    """

    class_names: tuple[str, ...]
    top: int
    joint: np.ndarray
    confusion: np.ndarray
    images: int = 0
    others: int = 0
    doubtful: list[Image] = field(default_factory=list)
    mistakes: list[Image] = field(default_factory=list)

    def merge(self, other: "LabelStats") -> None:
        """Take over what another shard has. The order of merging does not matter."""
        self.joint += other.joint
        self.confusion += other.confusion
        self.images += other.images
        self.others += other.others
        self.doubtful = nsmallest(self.top, self.doubtful + other.doubtful)
        self.mistakes = nsmallest(self.top, self.mistakes + other.mistakes)


@dataclass(frozen=True)
class LabelTask:
    """A file of predictions. place: among the shards of the job. thresholds: those of the first pass.

    sha256: as `_SUCCESS` has it; empty if it is not known.
    """

    file: Path
    place: int
    method: str
    top: int
    sha256: str = ""
    thresholds: np.ndarray | None = None


def label_stats(folder: Path, method: str, top: int, workers: int | Cluster) -> LabelStats:
    """Both passes over the predictions of a complete job.

    method: of `analysis.label_issues.METHODS`. top: the length of the lists.
    Raises DataError: there is no such method. RunError: the job is not complete or kept no probabilities, no image
    has a label, or a file is damaged.
    """
    check_method(method)
    hashes = read_success(folder).sha256
    return label_stats_of(
        [LabelTask(folder / name, place, method, top, sha256) for place, (name, sha256) in enumerate(hashes.items())],
        workers,
    )


def label_stats_of(tasks: Sequence[LabelTask], workers: int | Cluster) -> LabelStats:
    """Both passes over files of predictions, one or more. Raises RunError: as `label_stats`."""
    class_names = tuple(read_about(tasks[0].file)["class_names"])
    sums = ExactSums(len(class_names))
    for part in results(workers, sum_shard, tasks):
        sums.merge(part)
    if not sums.counts.any():
        raise RunError(
            f"No image in {tasks[0].file.parent} has a label that is one of the classes. "
            "docs/shards.md says where labels are read."
        )
    thresholds = mean_of_sums(sums.rounded(), sums.counts)
    stats = _empty(class_names, tasks[0].top)
    for part in results(workers, rank_shard, [replace(task, thresholds=thresholds) for task in tasks]):
        stats.merge(part)
    return stats


def sum_shard(task: LabelTask, report: Report) -> ExactSums:
    """The first pass over a shard: the sums of the labels' probabilities. Raises RunError: the file is damaged."""
    check_output(task.file, task.sha256)
    sums = ExactSums(len(read_about(task.file)["class_names"]))
    for group in _labelled(task.file):
        sums.add(group.labels, self_confidence(group.labels, group.probs))
    return sums


def rank_shard(task: LabelTask, report: Report) -> LabelStats:
    """The second pass over a shard: `LabelStats`, by the thresholds of the first."""
    assert task.thresholds is not None
    names = tuple(read_about(task.file)["class_names"])
    stats, k = _empty(names, task.top), len(names)
    for group in _labelled(task.file):
        labels, probs = group.labels, group.probs.astype(np.float64)
        confident, predicted = confident_classes(task.thresholds, probs), probs.argmax(axis=1)
        counted = confident >= 0
        stats.joint += np.bincount(labels[counted] * k + confident[counted], minlength=k * k).reshape(k, k)
        stats.confusion += np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)
        stats.images += len(labels)
        stats.others += group.others
        made = _Rows(task, names, group, confident, predicted, margins(labels, probs), self_confidence(labels, probs))
        stats.doubtful = nsmallest(task.top, stats.doubtful + made.first(made.doubt(), np.arange(len(labels))))
        wrong = np.flatnonzero(predicted != labels)
        confidence = -probs[np.arange(len(labels)), predicted]
        stats.mistakes = nsmallest(task.top, stats.mistakes + made.first([confidence], wrong))
    return stats


def _empty(names: tuple[str, ...], top: int) -> LabelStats:
    k = len(names)
    return LabelStats(names, top, np.zeros((k, k), np.int64), np.zeros((k, k), np.int64))


class _Labelled(NamedTuple):
    """The labelled rows of a row group. labels (n,) int64; probs (n, K) float32; others: rows that are left out."""

    rows: np.ndarray
    keys: Any
    labels: np.ndarray
    probs: np.ndarray
    others: int


def _labelled(file: Path) -> Iterator[_Labelled]:
    """Raises RunError: the file is damaged or has no probabilities."""
    pa = import_pyarrow()
    import pyarrow.compute as compute
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as read:
            names = read_about(file)["class_names"]
            if "probabilities" not in read.schema_arrow.names:
                raise RunError(f"{file.parent} has no probabilities. Predict the shards again with --probabilities.")
            for group in range(read.num_row_groups):
                table = read.read_row_group(group, ["row", "key", "label", "error", "probabilities"], use_threads=False)
                index = compute.index_in(table["label"], pa.array(names))
                used = compute.and_(compute.is_valid(index), compute.is_null(table["error"]))
                kept = table.append_column("index", index).filter(used).combine_chunks()
                values = kept["probabilities"].combine_chunks().flatten().to_numpy()
                yield _Labelled(
                    kept["row"].to_numpy(), kept["key"], kept["index"].to_numpy().astype(np.int64),
                    values.reshape(len(kept), len(names)), len(table) - len(kept),
                )  # fmt: skip
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{file} is damaged: {error}. Remove it, and run `misread predict` again.") from None


@dataclass
class _Rows:
    """The rows of a group with what both passes found of them."""

    task: LabelTask
    names: tuple[str, ...]
    group: _Labelled
    confident: np.ndarray
    predicted: np.ndarray
    margins: np.ndarray
    self_confidence: np.ndarray

    @property
    def flagged(self) -> np.ndarray:
        return (self.confident >= 0) & (self.confident != self.group.labels)

    def doubt(self) -> list[np.ndarray]:
        """The keys by which `label_issues` sorts, the most important first."""
        if self.task.method == "self-confidence":
            return [self.self_confidence]
        by_margin = [-self.margins]
        return by_margin if self.task.method == "normalised-margin" else [~self.flagged, *by_margin]

    def first(self, keys: Sequence[np.ndarray], among: np.ndarray) -> list[Image]:
        """The first `top` of the rows `among`, sorted by the keys; equals in the order of the rows."""
        order = among[np.lexsort([key[among] for key in reversed(keys)])][: self.task.top]
        return [self._image(int(i), tuple(float(key[i]) for key in keys)) for i in order]

    def _image(self, i: int, order: tuple[float, ...]) -> Image:
        flagged, row = bool(self.flagged[i]), int(self.group.rows[i])
        return Image(
            (*order, self.task.place, row), self.task.file.stem, row, self.group.keys[i].as_py(),
            self.names[self.group.labels[i]], self.names[self.predicted[i]],
            self.names[self.confident[i] if flagged else self.predicted[i]],
            float(self.group.probs[i, self.predicted[i]]), float(self.self_confidence[i]),
            float(self.margins[i]), flagged,
        )  # fmt: skip
