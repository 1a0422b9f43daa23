"""Writing a file whole or not at all: a temporary name in the same folder, fsync, rename.

After a crash the final name holds the old file or the new one, never a part of either. A killed process may leave a
file whose name begins with `PARTIAL`; nothing reads those.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path

PARTIAL = ".partial-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path for the block to write to, in the folder of `path` and with its suffix.

    When the block ends, the file is synced to the disk and renamed to `path`, over a file that was there.
    When the block raises, the file is removed and `path` stays as it was.
    The temporary name is unique, so processes that write the same file at once do not disturb each other: the last
    rename counts.
    Raises OSError: the file cannot be synced or renamed.
    """
    partial = path.with_name(f"{PARTIAL}{os.urandom(4).hex()}-{path.name}")
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_bytes(path: Path, data: bytes | mmap) -> None:
    """Write a file whole or not at all. Raises OSError: it cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all. Raises OSError: it cannot be written."""
    write_bytes(path, text.encode())


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder, which no other process may be writing to."""
    for path in folder.rglob(f"{PARTIAL}*"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut. Windows cannot open a folder, and needs no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
