"""The title and the note that a user gives to a run: `notes.json` in the run folder, beside `run.json`."""

from dataclasses import dataclass
from pathlib import Path

from misread.errors import RunError
from misread.files import sealed, unsealed, write_text

NOTES = "notes.json"
MAX_TITLE, MAX_NOTE = 120, 4000  # characters


@dataclass(frozen=True)
class RunNotes:
    """What `notes.json` has.

    deleted: when the run was moved to the trash, as a UTC time in ISO format; empty if it is not there.
    problem: why the file cannot be used; empty if it can. It is not in the file.
    """

    title: str = ""
    note: str = ""
    deleted: str = ""
    problem: str = ""


def read_notes(folder: Path) -> RunNotes:
    """The notes of a run. Without the file, or if it is damaged, they are empty: a run must open without them."""
    try:
        values = unsealed((folder / NOTES).read_bytes())
    except FileNotFoundError:
        return RunNotes()
    except (OSError, ValueError) as error:
        return RunNotes(problem=f"{NOTES}, with the name and the note of this run, is damaged: {error}.")
    return RunNotes(**{name: str(values.get(name, "")) for name in ("title", "note", "deleted")})


def write_notes(folder: Path, notes: RunNotes) -> None:
    """Damaged notes that were there are kept as `notes.json.damaged`. Raises RunError: the file cannot be written."""
    path, values = folder / NOTES, {"title": notes.title, "note": notes.note, "deleted": notes.deleted}
    try:
        if read_notes(folder).problem:
            path.replace(path.with_name(f"{NOTES}.damaged"))
        write_text(path, sealed(values))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None
