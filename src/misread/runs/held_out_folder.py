"""The folder of held-out predictions: those of one seed, written completely or not at all, and found again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from misread import files
from misread.data.npz import read_npz
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
    metrics: dict[str, float | int]


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
    files.write_text(folder / RECORD, record.model_dump_json(indent=2) + "\n")


def find_member(
    out: Path, fingerprint: str, recipe: Recipe, split: str, folds: int, filter_labels: bool
) -> HeldOutMember | None:
    """The predictions in the newest folder in `out` with this data, recipe (its seed too) and these arguments, if any.

    A folder that is damaged or of another format is passed over.
    """
    wanted = (FORMAT, fingerprint, split, folds, filter_labels)
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
    return HeldOutMember(folder, record, arrays["probs"], arrays["fold"], reused=True)
