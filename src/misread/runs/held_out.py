"""`cross_val_predict`: predicts every image of a split with networks that did not train on it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from misread import files
from misread.analysis.label_issues import LabelIssues, flagged_issues, label_issue_table
from misread.data.image_set import SPLITS, ImageSet, Split
from misread.data.npz import read_npz
from misread.data.splits import stratified_folds
from misread.errors import DataError, RecipeError
from misread.runs import run_folder
from misread.runs.predictions import Predictions
from misread.runs.prepare import as_image_set
from misread.runs.progress import FoldProgress, pick_fold_progress
from misread.runs.record import Environment, this_environment
from misread.training.cross_validation import FoldCallback, FoldDone, predict_folds
from misread.training.device import pick_device, using_threads
from misread.training.losses import resolve_loss
from misread.training.recipe import Recipe, Settings, load_recipe, parse_settings

FORMAT = 1
RECORD, PREDICTIONS = "held-out.json", "predictions.npz"
HELD_OUT = ("train", "test", "all")


class HeldOutRecord(BaseModel):
    """The contents of `held-out.json`.

    fit_seconds: the sum over all trainings. metrics: of the held-out predictions.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int = FORMAT
    created: str
    data: str
    source: str
    fingerprint: str
    class_names: tuple[str, ...]
    split: str
    folds: int
    filter_labels: bool
    recipe: str
    seed: int
    environment: Environment
    fit_seconds: float
    total_seconds: float
    metrics: dict[str, float | int]


@dataclass(frozen=True)
class HeldOut:
    """Held-out predictions: the networks that predicted an image did not train on it.

    predictions: for N images.
    splits:      (N,) the split of each image. The `rows` of the predictions are rows of that split.
    folds_of:    (N,) int64, the fold of each image.
    reused:      the predictions were read from the folder, and nothing was trained.
    """

    folder: Path
    record: HeldOutRecord
    data: ImageSet
    predictions: Predictions
    splits: np.ndarray
    folds_of: np.ndarray
    reused: bool = False

    def __repr__(self) -> str:
        record = self.record
        return (
            f"HeldOut({self.folder}: {record.data} {record.split}, {record.folds} folds of {record.recipe}, "
            f"accuracy {record.metrics['accuracy']:.2%} of {record.metrics['n']:,})"
        )

    def label_issues(self, method: str = "self-confidence") -> LabelIssues:
        """The images as a DataFrame, the most doubtful label first."""
        return label_issue_table(self.predictions, method, self.splits)


def cross_val_predict(
    data: Any,
    recipe: str | Path | Recipe = "fast",
    *,
    split: str = "train",
    folds: int = 5,
    filter_labels: bool = True,
    seed: int | None = None,
    settings: Settings = (),
    out: str | Path = "held-out",
    device: str = "auto",
    threads: int | None = None,
    progress: FoldProgress | bool = True,
) -> HeldOut:
    """Train networks in folds, and predict with each the images that are held out from it.

    data, recipe, settings, device, threads: as in `train`.
    split:  `train`: stratified folds over train. `all`: over all splits together. `test`: one training on train.
    filter_labels: do not train on labels that look wrong to other networks; see `predict_folds` and `flagged_issues`.
            It needs F (F + 1) / 2 trainings for F folds instead of F, and finds far more systematic label errors.
            `test` is never filtered.
    seed:   of folds, weights and order; by default the recipe's.
    out:    the folder for the folder of predictions. If it already has those for the same data, split, recipe, folds,
            filter_labels and seed, they are read and nothing is trained.
    Raises DataError, RecipeError, RunError: before training, if an argument cannot be used.
    Raises TrainingError: a loss is no longer finite; nothing is stored.
    """
    started = time.perf_counter()
    images = as_image_set(data, quiet=progress is False)
    resolved = load_recipe(recipe, {**parse_settings(settings), **({} if seed is None else {"seed": seed})})
    resolved = resolved.model_copy(update={"loss": resolve_loss(resolved.loss, images.one_hot)})
    if not resolved.layers:
        raise RecipeError(f"The recipe {resolved.name!r} has no layers, so there is no network to train for a fold.")
    chosen = pick_device(device)
    train_splits, held_out_splits = pooled_splits(images, split)
    folds, filter_labels = (1, False) if split == "test" else (folds, filter_labels)
    stored = _find(Path(out), images, resolved, split, folds, filter_labels)
    if stored:
        return stored
    pool, splits = _pool(images, (*train_splits, *held_out_splits))
    in_fold = np.isin(splits, held_out_splits)
    folds_of = _draw_folds(pool.labels, in_fold, folds, resolved.seed, filter_labels)
    display = progress if not isinstance(progress, bool) else pick_fold_progress(quiet=not progress)
    clock = _FitSeconds()
    name = f"{images.name}-{split}-{resolved.name}-seed{resolved.seed}"
    with run_folder.new_run_folder(Path(out), name, 8 * len(pool) * images.n_classes) as writing:
        with using_threads(threads) as thread_count, torch.random.fork_rng(devices=[]):
            display.begin(folds * (folds + 1) // 2 if filter_labels else folds)
            probs = predict_folds(
                pool, folds_of, resolved, images.n_classes, chosen, flagged_issues if filter_labels else None,
                [clock, display],
            )  # fmt: skip
        part = pool.take(np.flatnonzero(in_fold))
        predictions = _predictions(images, split, resolved.name, part.labels, probs[in_fold], part.rows, part.files)
        record = HeldOutRecord(
            created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            data=images.name,
            source=images.source,
            fingerprint=images.fingerprint,
            class_names=images.class_names,
            split=split,
            folds=folds,
            filter_labels=filter_labels,
            recipe=resolved.name,
            seed=resolved.seed,
            environment=this_environment(thread_count, str(chosen)),
            fit_seconds=clock.seconds,
            total_seconds=time.perf_counter() - started,
            metrics=predictions.metrics(),
        )
        held_out = HeldOut(writing.path, record, images, predictions, splits[in_fold], folds_of[in_fold])
        _write(held_out, resolved)
    return replace(held_out, folder=writing.path)


class _FitSeconds(FoldCallback):
    """Adds up the training time of all networks."""

    seconds = 0.0

    def on_fold_end(self, fold: FoldDone) -> None:
        self.seconds += fold.fit_seconds


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


def _predictions(
    data: ImageSet,
    split: str,
    recipe: str,
    labels: np.ndarray,
    probs: np.ndarray,
    rows: np.ndarray,
    files: tuple[str, ...] | None,
) -> Predictions:
    held_out_splits = pooled_splits(data, split)[1]
    return Predictions(
        labels, probs, data.class_names, rows, files, split,
        name=f"{recipe} on {data.name}, held out", images=lambda: _pool(data, held_out_splits)[0].images,
    )  # fmt: skip


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


def _write(held_out: HeldOut, recipe: Recipe) -> None:
    folder, predictions = held_out.folder, held_out.predictions
    arrays = {
        "labels": predictions.labels,
        "probs": predictions.probs,
        "index": predictions.rows,
        "split": held_out.splits,
        "fold": held_out.folds_of,
    }
    if predictions.files is not None:
        arrays["files"] = np.array(predictions.files, dtype=str)
    np.savez_compressed(folder / PREDICTIONS, **arrays)  # type: ignore[arg-type]
    files.write_text(folder / run_folder.RECIPE, recipe.to_toml())
    files.write_text(folder / RECORD, held_out.record.model_dump_json(indent=2) + "\n")


def _find(out: Path, data: ImageSet, recipe: Recipe, split: str, folds: int, filter_labels: bool) -> HeldOut | None:
    """The newest folder with these predictions, if there is one."""
    wanted = (FORMAT, data.fingerprint, split, folds, filter_labels)
    found = []
    for path in out.glob(f"*/{RECORD}"):
        try:
            record = HeldOutRecord.model_validate_json(path.read_bytes())
            stored_recipe = (path.parent / run_folder.RECIPE).read_text(encoding="utf-8")
        except (OSError, ValidationError):
            continue  # another file, or damaged
        stored = (record.format, record.fingerprint, record.split, record.folds, record.filter_labels)
        if stored == wanted and stored_recipe == recipe.to_toml():
            found.append((record.created, path.parent, record))
    if not found:
        return None
    _, folder, record = max(found, key=lambda f: f[:2])
    arrays = read_npz(folder / PREDICTIONS)
    files = tuple(map(str, arrays["files"])) if "files" in arrays else None
    predictions = _predictions(data, split, recipe.name, arrays["labels"], arrays["probs"], arrays["index"], files)
    return HeldOut(folder, record, data, predictions, arrays["split"], arrays["fold"], reused=True)
