"""What lies in misread's cache folder, how large it is, and how to be rid of it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from misread.data.folder_cache import FOLDERS, RECORD
from misread.data.named import NAMED
from misread.data.download import DECOMPRESSED, cache_folder
from misread.errors import DataError


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache.

    kind:    "decoded" is the pictures of a folder, "decompressed" and "downloaded" are files of a named set.
    what:    the folder or the named set that it is of; empty where it is not known.
    bytes:   on the disk.
    images:  how many pictures were decoded, else None.
    size:    the (H, W) that they were resized to, where they were.
    """

    kind: Literal["decoded", "decompressed", "downloaded", "other"]
    what: str
    path: Path
    bytes: int
    images: int | None = None
    size: tuple[int, int] | None = None

    @property
    def is_copy(self) -> bool:
        """Whether it can be made again from what lies elsewhere on this machine."""
        return self.kind in ("decoded", "decompressed")

    @property
    def orphaned(self) -> bool:
        """Whether the folder that was decoded is no longer there."""
        return self.kind == "decoded" and not os.path.isdir(self.what)


def cache_entries(data: str | None = None) -> list[CacheEntry]:
    """What is in the cache; with `data`, only what is of this named set or folder."""
    root = cache_folder()
    entries = [_decoded(path) for path in _children(root / FOLDERS)]
    entries += [CacheEntry("decompressed", path.name, path, _bytes(path)) for path in _children(root / DECOMPRESSED)]
    for path in _children(root):
        if path.name not in (FOLDERS, DECOMPRESSED):
            entries.append(CacheEntry("downloaded" if path.name in NAMED else "other", path.name, path, _bytes(path)))
    if data is None:
        return entries
    return [entry for entry in entries if entry.what in (data, str(Path(data).expanduser().resolve()))]


def remove_entry(entry: CacheEntry) -> None:
    """Remove it from the disk. Raises DataError: it cannot be removed."""
    try:
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{entry.path} cannot be removed: {error.strerror}. Is another program using it?") from None


def _decoded(path: Path) -> CacheEntry:
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
        source, size = record["source"], record["source"]["size"]
        images = int(record["shape"][0])
        return CacheEntry("decoded", source["folder"], path, _bytes(path), images, tuple(size) if size else None)
    except (OSError, ValueError, LookupError, TypeError):  # of a killed process, or damaged
        return CacheEntry("decoded", "", path, _bytes(path))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _bytes(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
