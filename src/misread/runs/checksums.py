"""The checksums of a run folder: written with the run, compared by `verify`.

`checksums.json` has the size and the SHA-256 of every file that the training wrote. There are three kinds of files:

- what the run consists of never changes. A difference is damage.
- the pictures and the model card are written again by `misread report`, and a user may edit them. A difference is said.
- checkpoints may be removed, but not changed.

Files that other commands add later, such as the report, exported models and notes, are not in it. The folder of
exported models has a `checksums.json` of its own.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misread import files
from misread.errors import RunError
from misread.runs import run_folder

CHECKSUMS = "checksums.json"
FORMAT = 1
BLOCK_BYTES = 2**20

Entry = dict[str, str | int]  # "bytes" and "sha256" (hex) of a file


@dataclass(frozen=True)
class Verification:
    """What `verify` found, each a message for one file.

    checked:  the number of files that were compared.
    problems: files that are damaged or missing. notes: files that may have changed, and do not match any more.
    """

    folder: Path
    checked: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        found = {"problems": list(self.problems), "notes": list(self.notes)}
        return {"folder": str(self.folder), "intact": self.intact, "checked": self.checked, **found}


def write_checksums(folder: Path, record: str) -> None:
    """Write the checksums of all files in a run folder, which are synced to the disk, too.

    record: the contents of `run.json`, which is written after this file. Raises OSError: a file cannot be written.
    """
    entries = {run_folder.RECORD: _entry_of(record.encode())}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name not in (CHECKSUMS, run_folder.RECORD) and not path.name.startswith(files.PARTIAL):
            entries[name] = _entry(path, sync=True)
    files.write_text(folder / CHECKSUMS, _text(entries))


def add_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of these files of a folder. Those that it has of others stay.

    Raises OSError: a file cannot be read or written.
    """
    known = _read(folder) or {} if (folder / CHECKSUMS).is_file() else {}
    files.write_text(folder / CHECKSUMS, _text(known | {name: _entry(folder / name) for name in names}))


def verify(folder: Path) -> Verification:
    """Compare every file of a run, or of an export, with its checksum. Nothing is changed.

    Raises RunError: there is no run, or an older misread wrote it, without checksums.
    """
    if folder.name.endswith(run_folder.PARTIAL) or not (folder / CHECKSUMS).is_file():
        run_folder.read_record(folder)  # says what is wrong, if anything is
        raise RunError(
            f"The run in {folder} has no {CHECKSUMS}: an older misread wrote it, or the file was removed. It can be "
            "used, but damage to its files cannot be told."
        )
    entries = _read(folder)
    if entries is None:
        return Verification(folder, 0, (f"{CHECKSUMS} is damaged, so no file can be compared.",), ())
    problems, notes = [], []
    for name, entry in entries.items():
        found = difference(folder / name, entry)
        if name.startswith(f"{run_folder.CHECKPOINTS}/") and not (folder / name).exists():
            continue
        if found and (name == run_folder.CARD or name.startswith(f"{run_folder.FIGURES}/")):
            notes.append(f"{name} {found}; misread report writes it again, and you may change it.")
        elif found:
            problems.append(f"{name} {found}.")
    return Verification(folder, len(entries), tuple(problems), tuple(notes))


def _read(folder: Path) -> dict[str, Entry] | None:
    """The entries; None if the file is not exactly as it was written."""
    try:
        text = (folder / CHECKSUMS).read_bytes().decode()
        values = json.loads(text)
        if isinstance(values.get("format"), int) and values["format"] > FORMAT:
            raise RunError(f"{folder / CHECKSUMS} was written by a newer misread. Install it to verify this run.")
        entries: dict[str, Entry] = values["files"]
        return entries if _text(entries) == text else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _text(entries: dict[str, Entry]) -> str:
    """The contents of the file. Its own SHA-256 is that of the entries."""
    own = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    return json.dumps({"format": FORMAT, "sha256": own, "files": entries}, indent=2, sort_keys=True) + "\n"


def difference(path: Path, entry: Entry) -> str:
    """What is different, in words that follow the name of the file; empty if nothing is.

    entry: what the file should have; what it does not name is not compared.
    """
    try:
        found = _entry(path)
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if found["bytes"] != entry.get("bytes", found["bytes"]):
        return f"has {found['bytes']:,} bytes instead of {entry['bytes']:,}"
    return "" if {**found, **entry} == found else "has other contents than those that were written: its SHA-256 differs"


def _entry(path: Path, sync: bool = False) -> Entry:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
        if sync:
            os.fsync(file.fileno())
    return {"bytes": size, "sha256": digest.hexdigest()}


def _entry_of(contents: bytes) -> Entry:
    return {"bytes": len(contents), "sha256": hashlib.sha256(contents).hexdigest()}
