"""The run folder: written under a temporary name and renamed when whole, `run.json` last of all; read with care."""

import errno
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from misread.errors import RunError
from misread.runs.record import FORMAT, RunRecord

RECORD, RECIPE, HISTORY, WEIGHTS = "run.json", "recipe.toml", "history.csv", "model.safetensors"
SPLITS, FIGURES, FIRST_WRITTEN = "splits.npz", "figures", RECIPE
LABEL_PATCH = "labels.jsonl"
REPORT = "report.html"
SPARE_BYTES = 32 * 1024 * 1024  # for predictions, tables and pictures beside the weights


def predictions_file(split: str) -> str:
    return f"predictions-{split}.npz"


def misreads_file(split: str) -> str:
    return f"misreads-{split}.csv"


class RunFolder:
    """A run folder being written: `path` is where it lies now, under a temporary name until it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path


@contextmanager
def new_run_folder(out: Path, name: str, model_bytes: int) -> Iterator[RunFolder]:
    """A folder to write a run into; it takes its name `out/name` when the block ends well.

    When the block fails before anything was written the folder goes; once something was, it stays under its
    temporary name and the error says where.
    Raises RunError: `out` cannot be written, or there is no space; before any training.
    """
    partial = out / f".partial-{name}-{os.getpid()}"
    try:
        out.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
        if free < model_bytes + SPARE_BYTES:
            needed = (model_bytes + SPARE_BYTES) / 1e6
            raise RunError(
                f"{out} has {free / 1e6:,.0f} MB free, but a run needs about {needed:,.0f} MB. Free some, or use --out."
            )
        partial.mkdir()
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}. Name another folder with --out.") from None
    try:
        folder = RunFolder(partial)
        yield folder
        folder.path = _rename(partial, out, name)
    except OSError as error:
        where = "Nothing was written." if _remove_if_empty(partial) else f"What was written so far is in {partial}."
        reason = "no space is left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise RunError(f"The run could not be written to {out}: {reason}. {where}\nMend it and train again.") from None
    except BaseException:
        _remove_if_empty(partial)
        raise


def _remove_if_empty(partial: Path) -> bool:
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()
        return True
    return False


def _rename(partial: Path, out: Path, name: str) -> Path:
    """Give the run its name, or the next free one: two trainings may end in the same second."""
    for number in itertools.count(1):
        target = out / (name if number == 1 else f"{name}-{number}")
        try:
            return partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
    raise AssertionError("unreachable: the numbers never end")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is whole or not there."""
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def read_record(folder: Path) -> RunRecord:
    """The `run.json` of a run folder.

    Raises RunError: no such folder, no run in it, an incomplete one, one from a newer misread, or a damaged file.
    """
    path = folder / RECORD
    if not folder.is_dir():
        raise RunError(f"There is no run folder {folder}. `misread runs` lists the runs there are.")
    if not path.is_file():
        if (folder / FIRST_WRITTEN).is_file():
            raise RunError(
                f"The run in {folder} is incomplete: it has no {RECORD}, which is written last. Train again."
            )
        raise RunError(f"{folder} is not a run folder: it has no {RECORD}. `misread runs` lists the runs there are.")
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged: {error}.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise RunError(f"{path} has format {version}, but this misread reads up to {FORMAT}. Install a newer misread.")
    try:
        return RunRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path} is damaged: {where}: {first['msg']} ({error.error_count()} problems).") from None


def find_runs(out: Path) -> list[Path]:
    """The run folders in a folder, oldest first by name; incomplete ones too, hidden ones not."""
    if not out.is_dir():
        return []
    folders = (f for f in out.iterdir() if f.is_dir() and not f.name.startswith("."))
    return sorted(f for f in folders if (f / RECORD).is_file() or (f / FIRST_WRITTEN).is_file())
