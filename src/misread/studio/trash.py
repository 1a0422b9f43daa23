"""Deleted runs: kept in the folder `.trash` of the runs folder for `DAYS` days, so that a deletion can be undone."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from misread.errors import RunError
from misread.runs.run_folder import is_running
from misread.studio.run_notes import read_notes, write_notes

TRASH = ".trash"
DAYS = 30


def delete_run(folder: Path) -> Path:
    """Move a run folder to the trash; returns its new path.

    Raises RunError: it is being trained, or cannot be moved.
    """
    if is_running(folder):
        raise RunError(f"The training in {folder} is running. Stop it first.")
    notes = read_notes(folder)
    write_notes(folder, replace(notes, deleted=datetime.now(UTC).isoformat(timespec="seconds")))
    return _move(folder, folder.parent / TRASH)


def restore_run(folder: Path) -> Path:
    """Move a run folder back from the trash; returns its new path. Raises RunError: it cannot be moved."""
    restored = _move(folder, folder.parent.parent)
    write_notes(restored, replace(read_notes(restored), deleted=""))
    return restored


def deleted_runs(runs: Path) -> list[Path]:
    """The run folders in the trash, in the order of their names."""
    return sorted(folder for folder in (runs / TRASH).glob("*") if folder.is_dir())


def empty_trash(runs: Path, now: datetime | None = None) -> None:
    """Remove the runs that were deleted more than `DAYS` days ago, by the time in their notes."""
    now = now or datetime.now(UTC)
    for folder in deleted_runs(runs):
        try:
            deleted = datetime.fromisoformat(read_notes(folder).deleted)
        except ValueError:
            continue  # no time, so no one knows how long it has been there
        if now - deleted > timedelta(days=DAYS):
            shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> Path:
    """Move a folder into another, whose file system is the same. A rename never leaves half a folder."""
    place = target / folder.name
    try:
        target.mkdir(exist_ok=True)
        if place.exists():
            raise RunError(f"{place} exists already. Rename or remove it first.")
        return folder.rename(place)
    except OSError as error:
        raise RunError(f"{folder} cannot be moved to {target}: {error.strerror}.") from None
