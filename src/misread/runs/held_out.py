"""`cross_val_predict`: predicts every image of a split with networks that did not train on it."""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from misread.analysis.label_issues import METHODS, LabelIssues, label_issue_table
from misread.analysis.label_noise import LabelNoise, estimate_noise, looks_wrong
from misread.analysis.probabilities import geometric_mean
from misread.data.image_set import SPLITS, ImageSet, Split
from misread.data.splits import stratified_folds
from misread.errors import DataError, RecipeError
from misread.runs import run_folder
from misread.runs.held_out_folder import HeldOutMember, HeldOutRecord, find_member, write_member
from misread.runs.predictions import Predictions
from misread.runs.prepare import as_image_set
from misread.runs.progress import FoldProgress, pick_fold_progress
from misread.runs.record import this_environment
from misread.training.auto_recipe import AUTO, named_recipe, pick_recipe
from misread.training.cross_validation import FoldCallback, FoldDone, filter_networks, predict_folds
from misread.training.device import pick_device, using_threads
from misread.training.losses import resolve_loss
from misread.training.recipe import Recipe, Settings, load_recipe, parse_settings
from misread.training.worker_progress import threads_of_each
from misread.workers import Cluster

HELD_OUT = ("train", "test", "all")
FEWEST_SEEDS, MOST_SEEDS, SECONDS = 2, 8, 60  # by default: as many as train in about this time, within these bounds


@dataclass(frozen=True)
class HeldOut:
    """Held-out predictions: the networks that predicted an image did not train on it.

    members:     the predictions of each seed, in the order of the seeds.
    predictions: for N images, the geometric mean of the members' probabilities.
    splits:      (N,) the split of each image. The `rows` of the predictions are rows of that split.
    recipe:      the resolved recipe of the first member. reason: why it was chosen, if it was.
    """

    data: ImageSet
    members: tuple[HeldOutMember, ...]
    predictions: Predictions
    splits: np.ndarray
    recipe: Recipe
    reason: str = ""

    def __repr__(self) -> str:
        record = self.members[0].record
        return (
            f"HeldOut({record.data} {record.split}, {record.folds} folds of {record.recipe}, "
            f"{len(self.members)} seeds, accuracy {self.metrics['accuracy']:.2%} of {len(self.predictions):,})"
        )

    @cached_property
    def metrics(self) -> dict[str, float | int]:
        """The scores of the predictions against the labels, as in `run.json`."""
        return self.predictions.metrics()

    @property
    def reused(self) -> bool:
        """All predictions were read from their folders, and nothing was trained."""
        return all(member.reused for member in self.members)

    @property
    def fit_seconds(self) -> float:
        """The time of all trainings, also of those whose predictions were reused."""
        return sum(member.record.fit_seconds for member in self.members)

    @cached_property
    def noise(self) -> LabelNoise | None:
        """How many labels are wrong. None for a single member: it takes two to tell errors from wrong labels."""
        if len(self.members) < 2:
            return None
        return estimate_noise(self.predictions.labels, [member.probs for member in self.members])

    def label_issues(self, method: str = METHODS[0]) -> LabelIssues:
        """The images as a DataFrame, the most doubtful label first. Flagged are as many as `noise` says."""
        return label_issue_table(self.predictions, method, self.splits, self.noise.flagged if self.noise else None)


def cross_val_predict(
    data: Any,
    recipe: str | Path | Recipe | None = None,
    *,
    split: str = "train",
    folds: int = 5,
    seeds: int | None = None,
    filter_labels: bool = True,
    seed: int | None = None,
    settings: Settings = (),
    out: str | Path = "held-out",
    device: str = "auto",
    threads: int | None = None,
    workers: int | Cluster = 1,
    progress: FoldProgress | bool = True,
) -> HeldOut:
    """Train networks in folds, and predict with each the images that are held out from it.

    data, settings, device, threads: as in `train`. recipe: likewise, but the default is `auto` for all data.
    workers: processes that train at the same time, or a `RayCluster`. `threads` is then the number of threads of each,
            by default an equal share of torch's, on a cluster one. The predictions are those of one worker with this
            number of threads, bit for bit. A script that uses processes needs `if __name__ == "__main__":`, because
            each imports it.
    split:  `train`: stratified folds over train. `all`: over all splits together. `test`: one training on train.
    seeds:  how many times, each with its own folds, weights and order. The seeds are `seed`, `seed` + 1, and so on.
            By default as many as train in about `SECONDS` on an idle machine, by the time that the first took; from
            `FEWEST_SEEDS` to `MOST_SEEDS`.
    filter_labels: do not train on labels that look wrong to other networks; see `predict_folds` and `looks_wrong`.
            It needs up to 6 more trainings, each on about half of the images, and finds far more systematic label
            errors.
            `test` is never filtered.
    seed:   the first; by default the recipe's.
    out:    the folder for the folders of predictions, one for each seed. If there already is one for the same data,
            split, recipe, folds, filter_labels and seed, it is read, and nothing is trained for this seed.
    Raises DataError, RecipeError, RunError: before training, if an argument cannot be used.
    Raises TrainingError: a loss is no longer finite. Only the seeds that were finished before are stored.
    """
    threads = threads_of_each(workers, threads)
    if seeds is not None and seeds < 1:
        raise DataError(f"{seeds} seeds train nothing. Use 1 or more.")
    overrides = parse_settings(settings, seed=seed)
    recipe = named_recipe(recipe, overrides) or AUTO
    images = as_image_set(data, quiet=progress is False)
    picked, reason = pick_recipe(recipe, images)
    first = load_recipe(picked, overrides)
    first = first.model_copy(update={"loss": resolve_loss(first.loss, images.one_hot)})
    if not first.layers:
        raise RecipeError(f"The recipe {first.name!r} has no layers, so there is no network to train for a fold.")
    display = progress if not isinstance(progress, bool) else pick_fold_progress(quiet=not progress)
    if reason:
        display.chosen(first, reason)
    task = _Task(images, split, folds, filter_labels, Path(out), pick_device(device), threads, workers, display)
    members = [task.member(first, 1, seeds)]
    count = seeds or _seeds_in_time(members[0].record, workers)
    for number in range(2, count + 1):
        members.append(task.member(first.model_copy(update={"seed": (first.seed + number - 1) % 2**63}), number, count))
    predictions = task.predictions(geometric_mean([member.probs for member in members]), first.name)
    return HeldOut(images, tuple(members), predictions, task.splits[task.in_fold], first, reason)


def _seeds_in_time(first: HeldOutRecord, workers: int | Cluster) -> int:
    """How many seeds to train by default. On a CPU other programs do not count."""
    environment = first.environment
    seconds = first.total_seconds
    if environment.device == "cpu" and isinstance(workers, int):
        seconds = first.cpu_seconds / (environment.threads * workers)
    return int(min(max(SECONDS // seconds, FEWEST_SEEDS), MOST_SEEDS))


class _Task:
    """What all seeds have in common: the images, the arguments, and where predictions are stored."""

    def __init__(
        self, data: ImageSet, split: str, folds: int, filter_labels: bool, out: Path, device: torch.device,
        threads: int | None, workers: int | Cluster, display: FoldProgress,
    ) -> None:  # fmt: skip
        self.data, self.split, self.out = data, split, out
        self.device, self.threads, self.workers, self.display = device, threads, workers, display
        train_splits, self.held_out_splits = pooled_splits(data, split)
        self.folds, self.filter_labels = (1, False) if split == "test" else (folds, filter_labels)
        self.pool, self.splits = _pool(data, (*train_splits, *self.held_out_splits))
        self.in_fold = np.isin(self.splits, self.held_out_splits)

    def member(self, recipe: Recipe, number: int, count: int | None) -> HeldOutMember:
        """The predictions of one seed: from their folder if there is one, else by training.

        number: which one it is, from 1. count: how many there are, if that is known.
        """
        found = find_member(
            self.out, self.data.fingerprint, recipe, self.split, self.folds, self.filter_labels
        )  # fmt: skip
        return found or self._train(recipe, number, count)

    def _train(self, recipe: Recipe, number: int, count: int | None) -> HeldOutMember:
        started, cpu_started = time.perf_counter(), time.process_time()
        folds_of = _draw_folds(self.pool.labels, self.in_fold, self.folds, recipe.seed, self.filter_labels)
        clock, k = _Seconds(), self.data.n_classes
        name = f"{self.data.name}-{self.split}-{recipe.name}-seed{recipe.seed}"
        with run_folder.new_run_folder(self.out, name, 8 * len(self.pool) * k) as writing:
            with using_threads(self.threads) as thread_count, torch.random.fork_rng(devices=[]):
                filters = len(filter_networks(self.folds)) if self.filter_labels else 0
                self.display.begin(filters + self.folds, number, count)
                probs = predict_folds(
                    self.pool, folds_of, recipe, k, self.device, looks_wrong if self.filter_labels else None,
                    [clock, self.display], self.workers,
                )[self.in_fold]  # fmt: skip
            predictions = self.predictions(probs, recipe.name)
            record = HeldOutRecord(
                created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                data=self.data.name,
                source=self.data.source,
                fingerprint=self.data.fingerprint,
                class_names=self.data.class_names,
                split=self.split,
                folds=self.folds,
                filter_labels=self.filter_labels,
                recipe=recipe.name,
                seed=recipe.seed,
                environment=this_environment(thread_count, str(self.device)),
                fit_seconds=clock.fit_seconds,
                total_seconds=time.perf_counter() - started,
                cpu_seconds=time.process_time() - cpu_started + (clock.cpu_seconds if self.workers != 1 else 0.0),
                metrics=predictions.metrics(),
            )
            member = HeldOutMember(writing.path, record, probs, folds_of[self.in_fold])
            arrays = {
                "labels": predictions.labels,
                "probs": probs,
                "index": predictions.rows,
                "split": self.splits[self.in_fold],
                "fold": member.folds_of,
            }
            if predictions.files is not None:
                arrays["files"] = np.array(predictions.files, dtype=str)
            write_member(writing.path, record, recipe, arrays)
        return replace(member, folder=writing.path)

    def predictions(self, probs: np.ndarray, recipe: str) -> Predictions:
        """probs: (N, K) of the held-out images."""
        part = self.pool.view(np.flatnonzero(self.in_fold))
        return Predictions(
            part.labels, probs, self.data.class_names, part.rows, part.files, self.split,
            name=f"{recipe} on {self.data.name}, held out",
            images=lambda: _pool(self.data, self.held_out_splits)[0].images,
        )  # fmt: skip


class _Seconds(FoldCallback):
    """Adds up the times of all networks."""

    fit_seconds = cpu_seconds = 0.0

    def on_fold_end(self, fold: FoldDone) -> None:
        self.fit_seconds += fold.fit_seconds
        self.cpu_seconds += fold.cpu_seconds


def pooled_splits(data: ImageSet, split: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The splits that are only trained on, and those that are held out. Raises DataError: no such choice."""
    if split not in HELD_OUT:
        raise DataError(f"The images of {split!r} cannot be held out. Known: {', '.join(HELD_OUT)}.")
    if split == "test":
        return ("train",), ("test",)
    return (), ("train",) if split == "train" else tuple(s for s in SPLITS if s in data.splits)


def _pool(data: ImageSet, names: tuple[str, ...]) -> tuple[Split, np.ndarray]:
    """The images of these splits, concatenated, and the split of each image."""
    parts = [data.splits[name] for name in names]
    files = tuple(f for p in parts for f in p.files or ()) if all(p.files is not None for p in parts) else None
    images = parts[0].images if len(parts) == 1 else np.concatenate([np.asarray(p.images) for p in parts])
    labels, rows = np.concatenate([p.labels for p in parts]), np.concatenate([p.rows for p in parts])
    return Split(images, labels, rows, files), np.repeat(names, [len(p) for p in parts])


def _draw_folds(labels: np.ndarray, in_fold: np.ndarray, folds: int, seed: int, filter_labels: bool) -> np.ndarray:
    """(N,) int64, the fold of each image; -1 for images that are only trained on."""
    count = int(in_fold.sum())
    if folds < 1 or (folds < 2 and in_fold.all()):
        raise DataError(f"{folds} folds leave no images to train on or none to predict. Use 2 or more.")
    if filter_labels and folds < 3:
        raise DataError(
            f"Filtering labels holds out two folds at a time, which is impossible with {folds}. "
            "Use 3 or more folds, or no filtering."
        )
    if folds > count:
        raise DataError(f"{count:,} images cannot be split into {folds} folds. Use fewer.")
    folds_of = np.full(len(labels), -1)
    folds_of[in_fold] = stratified_folds(labels[in_fold], folds, seed)
    return folds_of
