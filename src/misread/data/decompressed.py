"""Decompressed copies of verified files, in the cache. A later load maps and hashes them without decompressing.

Every load verifies the copies. Their contents must have the published SHA-256, or, if none is published, the one that
they had when they were verified. Their source files must be unchanged. A copy that fails a check is written again.
"""

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from misread.data.idx import sha256
from misread.files import write_bytes, write_text

RECORD = "source.json"  # describes the sources of the copies; written last
Stamp = list[str | int]


@dataclass(frozen=True)
class Contents:
    """Decompressed files in memory or memory-mapped, and the SHA-256 (hex) of each."""

    files: Sequence[bytes | mmap.mmap]
    sha256: Sequence[str]


def stamps(sources: Sequence[Path]) -> list[Stamp]:
    """Path, size and modification time of each file. They show whether a file has changed since it was read."""
    found = [(path, path.stat()) for path in sources]
    return [[str(path.resolve()), stat.st_size, stat.st_mtime_ns] for path, stat in found]


def find_copies(
    folder: Path, sources: list[Stamp], names: Sequence[str], published: Sequence[str] | None
) -> Contents | None:
    """The copies in the folder, memory-mapped; None if they are missing, incomplete, damaged, or of other sources.

    published: the SHA-256 (hex) of each file; None if only the record has them.
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


def write_copies(folder: Path, sources: list[Stamp], names: Sequence[str], contents: Contents) -> None:
    """Write copies into the folder, each atomically. If the folder cannot be written, do nothing."""
    record = json.dumps({"sources": sources, "sha256": list(contents.sha256)}, indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in zip(names, contents.files, strict=True):
            write_bytes(folder / name, file)  # a process that has mapped the old file keeps the old contents
        write_text(folder / RECORD, record)
    except OSError:
        pass  # disk full, or folder not writable: the next load decompresses again


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
