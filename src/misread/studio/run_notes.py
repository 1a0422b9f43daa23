"""The title and the note that a user gives to a run: `notes.json` in the run folder, beside `run.json`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from misread.errors import RunError
from misread.files import write_text

NOTES = "notes.json"
MAX_TITLE, MAX_NOTE = 120, 4000  # characters


@dataclass(frozen=True)
class RunNotes:
    """deleted: when the run was moved to the trash, as a UTC time in ISO format; empty if it is not there."""

    title: str = ""
    note: str = ""
    deleted: str = ""


def read_notes(folder: Path) -> RunNotes:
    """The notes of a run. Without the file, or if it is damaged, they are empty: a run must open without them."""
    try:
        values = json.loads((folder / NOTES).read_text(encoding="utf-8"))
        return RunNotes(**{name: str(values.get(name, "")) for name in ("title", "note", "deleted")})
    except (OSError, ValueError, AttributeError):
        return RunNotes()


def write_notes(folder: Path, notes: RunNotes) -> None:
    """Raises RunError: the file cannot be written."""
    try:
        write_text(folder / NOTES, json.dumps(asdict(notes), ensure_ascii=False, indent=2) + "\n")
    except OSError as error:
        raise RunError(f"{folder / NOTES} cannot be written: {error.strerror}.") from None
