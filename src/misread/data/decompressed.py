"""Decompressed copies of verified files, in the cache: a later load maps and hashes them, and inflates nothing.

Nothing in the cache is believed: the contents have to have the published SHA-256 again at every load (where none is
published, the one they had when they were verified), and the files that they came from have to be as they were. What
does not hold counts as not there, and is made anew.
"""

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from misread.data.idx import sha256
from misread.files import write_bytes, write_text

RECORD = "source.json"  # what the copies are of; written last
Stamp = list[str | int]


@dataclass(frozen=True)
class Contents:
    """Decompressed files in memory or memory-mapped, and the SHA-256 (hex) of each."""

    files: Sequence[bytes | mmap.mmap]
    sha256: Sequence[str]


def stamps(sources: Sequence[Path]) -> list[Stamp]:
    """Path, size and time of change of each file: what says that a file is still the one that was read."""
    found = [(path, path.stat()) for path in sources]
    return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in found]


def recall(
    folder: Path, sources: list[Stamp], names: Sequence[str], published: Sequence[str] | None
) -> Contents | None:
    """The copies in the folder, memory-mapped, or None where they are not whole, not right, or of other sources.

    published: the SHA-256 that the contents must have; None where only the record says it.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["sources"] != sources:
            return None
        hashes = list(published or record["sha256"])
        files = [_map(folder / name) for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Contents(files, hashes) if [sha256(file) for file in files] == hashes else None


def keep(folder: Path, sources: list[Stamp], names: Sequence[str], contents: Contents) -> None:
    """Put copies into the folder, each whole under its name or not at all. Where that cannot be, there are none."""
    record = json.dumps({"sources": sources, "sha256": list(contents.sha256)}, indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in zip(names, contents.files, strict=True):
            write_bytes(folder / name, file)  # whoever has the old file mapped keeps it
        write_text(folder / RECORD, record)
    except OSError:
        pass  # a full disk, or a folder that only others may write to: the next load inflates again


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
