"""Atomic file writing: a temporary file in the same folder, fsync, rename.

After a crash, the file has either its old or its new contents, never a part. A killed process may leave a file whose
name begins with `PARTIAL`; such files are never read.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path
from typing import Any, BinaryIO

from misread.errors import RunError

PARTIAL = ".partial-"
SUM = "sha256"  # the key of a sealed object that has the sum of its other values


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, with its suffix, for the block to write to.

    When the block ends, the file is synced to the disk and renamed to `path`, replacing any existing file.
    If the block raises, the file is removed and `path` is not changed.
    The temporary name is unique, so several processes may write the same file at once; the last rename wins.
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
    """Write a file atomically. Raises OSError: it cannot be written."""
    with replacing(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically. Raises OSError: it cannot be written."""
    write_bytes(path, text.encode())


def sealed(values: Mapping[str, Any]) -> str:
    """The text of a JSON object with one more key, the SHA-256 of its values. `unsealed` then notices any damage."""
    read = json.loads(json.dumps(values))  # as they are read back: keys are texts, tuples are lists
    return json.dumps({**read, SUM: _sum(read)}, indent=2) + "\n"


def unsealed(contents: bytes) -> dict[str, Any]:
    """The values of a sealed object. One without a sum, which a person or an older misread wrote, is taken as it is.

    Raises ValueError: it is no JSON object, or its values are not those that were written.
    """
    values = json.loads(contents.decode())
    if not isinstance(values, dict):
        raise ValueError("it is no JSON object")
    if SUM in values and values.pop(SUM) != _sum(values):
        raise ValueError("its values do not have the SHA-256 that it names")
    return values


def _sum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder for temporary files, which is removed in the end.

    Raises RunError: the block could not write there, that is, it raised OSError.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        where = tempfile.tempdir or "The folder for temporary files"
        raise RunError(
            f"{where} cannot be written: {error.strerror or error}. Free some space there, or set TMPDIR to another "
            "folder."
        ) from None


@contextmanager
def locked(file: BinaryIO, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on an open file; other processes wait. On Windows there is no lock.

    wait: False yields whether the lock was free, instead of waiting.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))  # released when the file is closed
    except BlockingIOError:
        yield False
        return
    yield True


def remove_partial_files(folder: Path) -> None:
    """Remove what a killed process left half-written in a folder, which no other process may be writing to.

    What a process has locked stays.
    """
    for path in folder.rglob(f"{PARTIAL}*"):
        with suppress(FileNotFoundError):
            with path.open("rb") as file, locked(file, wait=False) as free:
                pass
            if free:
                path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the rename durable against power loss. Windows cannot open a folder, and does not need this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
