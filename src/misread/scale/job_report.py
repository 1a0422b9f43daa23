"""The page of a job: its numbers merged from all shards, and the pictures of the few images that it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from misread.analysis.calibration import Calibration, expected_calibration_error_of, reliability_table_of
from misread.analysis.label_issues import METHODS
from misread.analysis.records import with_names
from misread.data.geometry import Geometry
from misread.errors import RunError
from misread.messages import Message
from misread.report.job_content import Doubt, FailedShard, JobContent, JobImage, UnreadImage
from misread.report.job_sections import job_page_of
from misread.report.page import texts_of
from misread.scale.exact_sums import ExactSums
from misread.scale.fetch_images import Fetched, FetchTask, fetch_images
from misread.scale.job import SUCCESS, Job, read_job
from misread.scale.job_stats import JobStats, Kept, StatsTask, shard_stats
from misread.scale.label_stats import LabelStats, LabelTask, label_stats_of
from misread.scale.predict_shard import finished
from misread.scale.run_job import read_failed, read_success, results
from misread.workers import Cluster

LISTED = 100  # images of each list: it bounds the memory and the page, however many images there are
PAGE = "report.html"

Place = tuple[int, int]  # of an image: its shard's place in the job, and its row


@dataclass(frozen=True)
class JobReport:
    """The page of a job and what it says. missing: how many shards are neither predicted nor failed."""

    path: Path
    stats: JobStats
    failed: Sequence[FailedShard]
    missing: int


def write_job_report(
    folder: Path, workers: int | Cluster, out: Path | None = None, *, language: str = "en", top: int = LISTED,
    progress: Callable[[str], None] = lambda line: None,
) -> JobReport:  # fmt: skip
    """Write the page of a job, by default as `report.html` in its folder. Shards without predictions are left out.

    top: the length of each list of images. progress: called with a line before each step that takes long.
    Raises RunError: there is no job, none of its shards is predicted, a file of predictions is damaged, there is no
    such language, or the page cannot be written.
    """
    texts_of(language)  # a wrong language is an error before the work, not after it
    job = read_job(folder)
    tasks = _stats_tasks(job, top)
    progress(f"Counting the images of {len(tasks):,} shards ...")
    stats = JobStats.empty(len(job.about["class_names"]), top)
    for part in results(workers, shard_stats, tasks):
        stats.merge(part)
    labels = None
    if job.probabilities and stats.confusion.any():
        progress("Ranking the labels ...")
        labels = label_stats_of([LabelTask(t.file, t.shard, METHODS[0], top, t.sha256) for t in tasks], workers)
    lists = _lists(job, stats, labels)
    progress(f"Fetching {len(lists.kept):,} images from their shards ...")
    fetched = _fetch(job, lists, workers)
    failed = _failed(job, {task.shard for task in tasks})
    missing = len(job.shards) - len(tasks) - len(failed)
    facts, notes = _facts(job), _notes(job, stats, lists, fetched, len(failed), missing)
    images = Message("report.n-images", n=stats.images)
    content = JobContent(
        title=folder.resolve().name,
        subtitle=Message("job.subtitle", done=len(tasks), shards=len(job.shards), images=images),
        **_numbers(job, stats),
        **_images(job, lists, fetched),
        flagged=int(labels.joint.sum() - labels.joint.trace()) if labels else 0,
        unread=[UnreadImage(job.shards[one.shard].name, *one[1:]) for one in stats.errors],
        failed=failed[:top],
        n_failed=len(failed),
        facts=facts,
        notes=notes,
    )
    return JobReport(job_page_of(content, language).write(out or folder / PAGE), stats, failed, missing)


def _stats_tasks(job: Job, top: int) -> list[StatsTask]:
    """A task for each shard that has predictions. Their hashes are known if the job is complete."""
    hashes = read_success(job.folder).sha256 if (job.folder / SUCCESS).exists() else {}
    tasks = [
        StatsTask(job.output(shard), place, top, hashes.get(job.output(shard).name, ""))
        for place, shard in enumerate(job.shards)
        if finished(job.output(shard), job.digest)
    ]
    if not tasks:
        raise RunError(f"{job.folder} has no predictions yet. Run `misread predict` again.")
    return tasks


def _failed(job: Job, done: set[int]) -> list[FailedShard]:
    failed = {line["shard"]: line for line in read_failed(job.folder)}
    return [
        FailedShard(shard.name, shard.path, str(failed[shard.name].get("error", "")))
        for place, shard in enumerate(job.shards)
        if shard.name in failed and place not in done
    ]


@dataclass(frozen=True)
class _Lists:
    """The images of the lists. kept: each of them once, in the order of the job. doubtful: with suggested classes."""

    kept: dict[Place, Kept]
    mistakes: list[Place]
    unsure: list[Place]
    doubtful: dict[Place, int] | None


def _lists(job: Job, stats: JobStats, labels: LabelStats | None) -> _Lists:
    classes = {name: k for k, name in enumerate(job.about["class_names"])}
    kept = {(one.shard, one.row): one for one in (*stats.mistakes, *stats.unsure)}
    doubtful: dict[Place, int] = {}
    for image in labels.doubtful if labels else ():
        if image.suggested != image.label:
            place = int(image.order[-2]), image.row
            doubtful[place] = classes[image.suggested]
            label, prediction = classes[image.label], classes[image.prediction]
            kept.setdefault(place, Kept(0, *place, image.key, label, prediction, image.confidence, np.nan))
    return _Lists(
        dict(sorted(kept.items())),
        [(one.shard, one.row) for one in stats.mistakes],
        [(one.shard, one.row) for one in stats.unsure],
        doubtful if labels else None,
    )


def _fetch(job: Job, lists: _Lists, workers: int | Cluster) -> dict[int, Fetched]:
    """What the shards of the kept images give, by their places."""
    rows: dict[int, set[int]] = {}
    for shard, row in lists.kept:
        rows.setdefault(shard, set()).add(row)
    geometry = Geometry(**job.about["geometry"])
    tasks = [
        FetchTask(job.shards[p], p, frozenset(wanted), job.output(job.shards[p]), job.probabilities, geometry)
        for p, wanted in rows.items()
    ]
    return {found.place: found for found in results(workers, fetch_images, tasks)}


def _images(job: Job, lists: _Lists, fetched: dict[int, Fetched]) -> dict[str, Any]:
    """The fields of the content about images."""
    images = []
    for (shard, row), kept in lists.kept.items():
        probs = fetched[shard].probs.get(row)
        images.append(
            JobImage(
                shard=job.shards[shard].name,
                row=row,
                key=kept.key,
                label=kept.label if kept.label >= 0 else None,
                prediction=kept.prediction,
                confidence=kept.confidence,
                margin=kept.margin if probs is None else float(np.subtract(*np.sort(probs)[:-3:-1])),
                probs=probs,
                pixels=fetched[shard].pixels.get(row),
            )
        )
    position = {place: i for i, place in enumerate(lists.kept)}
    return {
        "images": images,
        "mistakes": [position[place] for place in lists.mistakes],
        "unsure": [position[place] for place in lists.unsure],
        "doubtful": None
        if lists.doubtful is None
        else [Doubt(position[place], suggested) for place, suggested in lists.doubtful.items()],
    }


@with_names
def _numbers(job: Job, stats: JobStats) -> dict[str, Any]:
    """The fields of the content that are counts of all images."""
    names = job.about["class_names"]
    by_class, bins = stats.by_prediction, stats.bins
    table = reliability_table_of(bins.counts, np.zeros_like(bins.counts), bins.rounded())
    return {
        "class_names": names,
        "confusion": stats.confusion,
        "by_class": pd.DataFrame({"class": names, "n": by_class.counts, "confidence": _means(by_class)}),
        "bins": table[["low", "high", "n", "confidence"]],
        "calibration": _calibration(stats),
        "n": stats.images,
        "n_unread": stats.unread,
        "n_unlabelled": stats.unlabelled,
    }


def _means(sums: ExactSums) -> np.ndarray:
    return sums.rounded() / np.where(sums.counts > 0, sums.counts, np.nan)


def _calibration(stats: JobStats) -> Calibration | None:
    n, sums = int(stats.confusion.sum()), stats.labelled_bins.rounded()
    if not n:
        return None
    table = reliability_table_of(stats.labelled_bins.counts, stats.right, sums)
    return Calibration(
        title="",
        n=n,
        ece=expected_calibration_error_of(table),
        confidence=float(sums.sum() / n),
        accuracy=float(stats.right.sum() / n),
        table=table,
        scaling=None,
    )


def _notes(
    job: Job, stats: JobStats, lists: _Lists, fetched: dict[int, Fetched], failed: int, missing: int
) -> list[str]:
    """What is missing on the page, and why."""
    notes: list[str] = []
    if failed:
        notes.append(Message("job.note.failed", n=failed))
    if missing:
        notes.append(Message("job.note.missing", n=missing))
    if stats.other_labels:
        notes.append(Message("job.note.other-labels", n=stats.other_labels))
    if not job.probabilities:
        notes.append(Message("job.note.no-probabilities"))
    without = [(shard, row) for shard, row in lists.kept if row not in fetched[shard].pixels]
    if without:
        shards = sorted({shard for shard, _ in without})
        first = {"shard": job.shards[shards[0]].name, "why": fetched[shards[0]].why}
        key = "job.note.no-pictures" if len(shards) == 1 else "job.note.no-pictures-more"
        notes.append(Message(key, n=len(without), shards=len(shards), **first))
    return notes


def _facts(job: Job) -> list[tuple[str, str]]:
    """The conditions of the numbers: (name, value)."""
    about, first, last = job.about, job.shards[0], job.shards[-1]
    height, width, channels = about["image_shape"]
    backend = about["backend"]
    size = f"{sum(shard.bytes for shard in job.shards) / 1e6:,.1f}"
    return [
        ("Shards", Message("job.fact.shards", n=len(job.shards), size=size, first=first.path, last=last.path)),
        ("Images", Message("fact.grey" if channels == 1 else "fact.colour", height=str(height), width=str(width),
                           classes=len(about["class_names"]))),
        ("Weights", about["weights_sha256"][:12]),
        ("Recipe", about["recipe_sha256"][:12]),
        ("Engine", ", ".join(filter(None, (backend[name] for name in ("name", "build", "precision", "device"))))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in about["versions"].items())),
        ("Job", job.digest[:12]),
    ]  # fmt: skip
