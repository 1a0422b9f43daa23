"""The picture files in a folder: their names and what says whether one has changed. No file is opened here."""

import os
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
    return _scan(os.path.join(folder, below), os.path.join(below, ""))


def is_picture_name(name: str) -> bool:
    return name[name.rfind(".") :].lower() in EXTENSIONS


def _scan(folder: str, prefix: str) -> list[PictureFile]:
    found: list[PictureFile] = []
    subfolders: list[str] = []
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}. Make it readable, or move it away.") from None
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                subfolders.append(name)
            elif is_picture_name(name):
                try:
                    if entry.is_file():
                        state = entry.stat()
                        found.append(PictureFile(prefix + name, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
                except OSError:  # removed while we looked, or a circle of links
                    continue
    for name in subfolders:
        found += _scan(os.path.join(folder, name), f"{prefix}{name}{os.sep}")
    # files of one folder are in the order of their paths when their names are; the key takes four times as long
    found.sort(key=_path_order if subfolders or os.name == "nt" else None)
    return found


def _path_order(file: PictureFile) -> list[str]:
    return os.path.normcase(file.name).split(os.sep)
