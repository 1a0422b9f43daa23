"""The folder of held-out predictions: those of one seed, written completely or not at all, and found again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from misread import files
from misread.data.npz import read_npz
from misread.errors import DataError
from misread.runs import run_folder
from misread.runs.record import Environment
from misread.training.recipe import Recipe

FORMAT = 1
RECORD, PREDICTIONS = "held-out.json", "predictions.npz"


class HeldOutRecord(BaseModel):
    """The contents of `held-out.json`.

    fit_seconds: the sum over all trainings. cpu_seconds: of all threads, in `total_seconds`. metrics: of the held-out
    predictions.
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
    cpu_seconds: float
    metrics: dict[str, int | float]  # in this order: see `RunRecord`


@dataclass(frozen=True)
class HeldOutMember:
    """The held-out predictions of the networks of one seed.

    probs:    (N, K) float32. folds_of: (N,) int64, the fold of each image.
    reused:   they were read from the folder, and nothing was trained.
    """

    folder: Path
    record: HeldOutRecord
    probs: np.ndarray
    folds_of: np.ndarray
    reused: bool = False


def write_member(folder: Path, record: HeldOutRecord, recipe: Recipe, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the three files. arrays: those of `predictions.npz`."""
    np.savez_compressed(folder / PREDICTIONS, **arrays)  # type: ignore[arg-type]
    files.write_text(folder / run_folder.RECIPE, recipe.to_toml())
    files.write_text(folder / RECORD, files.sealed(record.model_dump(mode="json")))


def find_member(
    out: Path, fingerprint: str, recipe: Recipe, split: str, folds: int, filter_labels: bool
) -> HeldOutMember | None:
    """The predictions in the newest folder in `out` with this data, recipe (its seed too) and these arguments, if any.

    A folder that is damaged or of another format is passed over.
    """
    wanted = (split, folds, filter_labels)
    for folder, record in _stored(out, fingerprint):
        if (record.split, record.folds, record.filter_labels) != wanted:
            continue
        try:
            if (folder / run_folder.RECIPE).read_bytes() == recipe.to_toml().encode():
                arrays = read_npz(folder / PREDICTIONS)
                return HeldOutMember(folder, record, arrays["probs"], arrays["fold"], reused=True)
        except (OSError, DataError, KeyError):
            continue
    return None


def training_probs(folders: Sequence[Path], fingerprint: str) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """The newest stored predictions of the training images of some data, those of all their seeds.

    Returns the rows (N,) int64 of the images in the training split, rising, and for each seed the probabilities (N, K)
    float32; None if there are none. A folder that is damaged or of another format is passed over.
    """
    stored = sorted((one for out in folders for one in _stored(out, fingerprint)), key=_created, reverse=True)
    rows, kind = np.array([], np.int64), None
    probs: dict[int, np.ndarray] = {}
    for folder, record in stored:
        this = (record.split, record.folds, record.filter_labels, record.recipe)
        if record.split == "test" or record.seed in probs or kind not in (None, this):
            continue
        try:
            arrays = read_npz(folder / PREDICTIONS)
            here = np.flatnonzero(arrays["split"] == "train")
            order = here[np.argsort(arrays["index"][here])]
            rows, probs[record.seed], kind = arrays["index"][order], arrays["probs"][order], this
        except (DataError, KeyError, IndexError):
            continue
    return (rows, list(probs.values())) if probs else None


def _stored(out: Path, fingerprint: str) -> list[tuple[Path, HeldOutRecord]]:
    """The folders of predictions for this data, the newest first."""
    found = []
    for path in out.glob(f"*/{RECORD}"):
        try:
            record = HeldOutRecord.model_validate(files.unsealed(path.read_bytes()))
        except (OSError, ValueError):
            continue  # another file, or damaged
        if (record.format, record.fingerprint) == (FORMAT, fingerprint):
            found.append((path.parent, record))
    return sorted(found, key=_created, reverse=True)


def _created(stored: tuple[Path, HeldOutRecord]) -> tuple[str, Path]:
    return stored[1].created, stored[0]
