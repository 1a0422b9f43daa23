"""The picture files in a folder: their names and what says whether one has changed. No file is opened here."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from misread.data.picture import EXTENSIONS
from misread.errors import DataError


class PictureFile(NamedTuple):
    """A file and its state when it was looked at.

    name:     the path relative to the folder that was scanned.
    bytes:    its size.
    mtime_ns: when the contents were last changed, in ns. A program can set this time.
    ctime_ns: when the contents or the attributes were last changed, in ns. No program can set this time (on Windows
              it is when the file was made).
    """

    name: str
    bytes: int
    mtime_ns: int
    ctime_ns: int


def scan_pictures(folder: Path, below: str = "") -> list[PictureFile]:
    """The pictures in `folder / below` and in its subfolders, in the order of their paths.

    Names are relative to `folder`. Hidden files and folders, special files (pipes, devices) and links to nowhere are
    passed over. Links to files are followed; links to folders are not, so a circle of links ends.
    Raises DataError: a folder cannot be read.
    """
    found = _scan(os.path.join(folder, below), f"{below}{os.sep}" if below else "")
    return sorted(found, key=lambda file: os.path.normcase(file.name).split(os.sep))


def is_picture_name(name: str) -> bool:
    return name[name.rfind(".") :].lower() in EXTENSIONS


def _scan(folder: str, prefix: str) -> Iterator[PictureFile]:
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Make it readable, or move it away.") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _scan(entry.path, f"{prefix}{entry.name}{os.sep}")
        elif is_picture_name(entry.name):
            try:
                if not entry.is_file():
                    continue
                stat = entry.stat()
            except OSError:  # removed while we looked, or a circle of links
                continue
            yield PictureFile(prefix + entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
