"""The runs of one folder: the ids that requests name them by, their list, and the runs that are open.

An id is a hash of the folder's name. A request is answered for a folder that was found in the runs folder and has this
id, so that no text from a request becomes a path.
"""

import csv
import hashlib
import tomllib
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from misread.errors import RecipeError, RunError
from misread.runs import run_folder
from misread.runs.record import RunRecord
from misread.studio.run_notes import read_notes, write_notes
from misread.studio.trash import delete_run, deleted_runs, restore_run

if TYPE_CHECKING:
    from misread.data.image_set import ImageSet
    from misread.runs.run import Run

OPEN = 6  # runs that stay open; each holds its network and predictions
SPLITS = ("train", "val", "test")


class UnknownRun(RunError):
    """There is no run of this id."""


def run_id(folder: Path) -> str:
    """The same while a run is trained, when it is complete, and in the trash."""
    name = folder.name.removesuffix(run_folder.PARTIAL)
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:16]


class Runs:
    """The runs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = RLock()
        self._open: OrderedDict[Path, tuple[int, Run]] = OrderedDict()
        self._records: dict[Path, tuple[int, RunRecord]] = {}

    def rows(self) -> list[dict[str, Any]]:
        """What the table of runs shows, the newest first. A run or notes that cannot be read have why in `error`."""
        rows = [self._row(folder) for folder in self._folders().values()]
        return sorted(rows, key=lambda row: (row["date"], row["name"]), reverse=True)

    def deleted(self) -> list[dict[str, Any]]:
        """The runs in the trash, the last deleted first."""
        rows = [{**self._row(f), "deleted": read_notes(f).deleted} for f in deleted_runs(self.folder)]
        return sorted(rows, key=lambda row: row["deleted"], reverse=True)

    def newest(self) -> str | None:
        """The id of the newest complete run."""
        return next((row["id"] for row in self.rows() if row["accuracy"] is not None), None)

    def path(self, id: str) -> Path:
        """The folder of a run. Raises UnknownRun: there is no run of this id."""
        found = self._folders().get(id)
        if found is None:
            raise UnknownRun("This run is no longer there. It may have been moved or deleted.")
        return found

    def open(self, id: str) -> "Run":
        """The run of an id. It stays open, with its network, predictions and data, until `OPEN` others were opened.

        Raises RunError: there is no such run, or it cannot be opened.
        """
        from misread.runs.run import open_run  # imports torch, which takes seconds

        path = self.path(id)
        with self._lock:
            changed = _changed(path)
            held = self._open.pop(path, None)
            if held is None or held[0] != changed:
                held = changed, open_run(path, data=self._loaded(self._record(path)))
            self._open[path] = held
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
            return held[1]

    def _loaded(self, record: RunRecord) -> "ImageSet | None":
        """The data of a run, if another open run has loaded it."""
        same = [run for _, run in self._open.values() if run.record.data.fingerprint == record.data.fingerprint]
        return next((run.loaded_data for run in same if run.loaded_data is not None), None)

    def details(self, id: str) -> dict[str, Any]:
        """What the rooms need to know of a run: its data, recipe, history and metrics, as plain values.

        Raises RunError: there is no such run, or it is unfinished or damaged.
        """
        path = self.path(id)
        record, notes = run_folder.read_record(path), read_notes(path)
        data = record.data.model_dump(mode="json", exclude={"source", "size", "geometry"})
        return {
            "id": id,
            "name": path.name,
            "title": notes.title or f"{record.recipe}, {record.data.name}",
            "note": notes.note,
            "data": data,
            "recipe_name": record.recipe,
            "recipe": _recipe(path),
            "history": _history(path),
            "metrics": record.metrics,
            "model": record.model.model_dump(mode="json"),
            "splits": [split for split in SPLITS if data[f"n_{split}"]],
        }

    def rename(self, id: str, title: str) -> None:
        path = self.path(id)
        write_notes(path, replace(read_notes(path), title=title))

    def write_note(self, id: str, note: str) -> None:
        path = self.path(id)
        write_notes(path, replace(read_notes(path), note=note))

    def delete(self, id: str) -> None:
        """Move a run to the trash. Raises RunError: it is being trained, or cannot be moved."""
        path = self.path(id)
        with self._lock:
            self._open.pop(path, None)
            delete_run(path)

    def restore(self, id: str) -> None:
        """Undo a deletion. Raises UnknownRun: no run of this id was deleted. RunError: it cannot be moved."""
        found = {run_id(folder): folder for folder in deleted_runs(self.folder)}.get(id)
        if found is None:
            raise UnknownRun("This run is not among the deleted ones.")
        restore_run(found)

    def _folders(self) -> dict[str, Path]:
        """Every run in the folder by its id: complete, damaged, running and unfinished ones."""
        unfinished = [f for f in self.folder.glob(f"*{run_folder.PARTIAL}") if f.is_dir()]
        return {run_id(folder): folder for folder in (*unfinished, *run_folder.find_runs(self.folder))}

    def _row(self, folder: Path) -> dict[str, Any]:
        notes = read_notes(folder)
        row: dict[str, Any] = {
            "id": run_id(folder), "name": folder.name, "title": notes.title, "note": notes.note, "date": "",
            "recipe": "", "data": "", "accuracy": None, "accuracy_low": None, "accuracy_high": None, "misread": None,
            "n": None, "seconds": None, "parameters": None, "fingerprint": "", "error": notes.problem,
        }  # fmt: skip
        if folder.name.endswith(run_folder.PARTIAL):
            status = "running" if run_folder.is_running(folder) else "unfinished"
            return {**row, "status": status, "date": _date_in(folder)}
        try:
            record = self._record(folder)
        except RunError as error:
            return {**row, "status": "damaged", "error": str(error), "date": _date_in(folder)}
        test = record.metrics["test"]
        return row | {
            "status": record.status, "date": record.created, "recipe": record.recipe, "data": record.data.name,
            **{key: test[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "misread", "n")},
            "seconds": record.timing.fit_seconds, "parameters": record.model.parameters,
            "fingerprint": record.data.fingerprint,
        }  # fmt: skip

    def _record(self, folder: Path) -> RunRecord:
        changed = _changed(folder)
        held = self._records.get(folder)
        if held is None or held[0] != changed:
            held = self._records[folder] = changed, run_folder.read_record(folder)
        return held[1]


def _changed(folder: Path) -> int:
    """When `run.json` was written, in nanoseconds; 0 if it is not there."""
    try:
        return (folder / run_folder.RECORD).stat().st_mtime_ns
    except OSError:
        return 0


def _date_in(folder: Path) -> str:
    """When a folder without a readable `run.json` was made, in the form of `RunRecord.created`."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(folder.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    except OSError:
        return ""


def _recipe(folder: Path) -> dict[str, Any]:
    from misread.training.recipe import parse_recipe

    path = folder / run_folder.RECIPE
    try:
        return parse_recipe(tomllib.loads(path.read_text(encoding="utf-8")), str(path)).model_dump(mode="json")
    except (OSError, ValueError, RecipeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None


def _history(folder: Path) -> list[dict[str, float | None]]:
    """One row an epoch, as `history.csv` has them; without the file, none."""
    try:
        with (folder / run_folder.HISTORY).open(encoding="utf-8", newline="") as file:
            return [{name: float(v) if v else None for name, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError):
        return []
