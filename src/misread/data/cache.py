"""The contents of misread's cache folder: what each entry is, its size, and how to remove it."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from misread.data.download import DECOMPRESSED, cache_folder
from misread.data.feature_store import FEATURES, NAME
from misread.data.locations import is_url
from misread.data.named import NAMED
from misread.data.pixel_cache import FOLDERS, RECORD
from misread.errors import DataError

HUB = "hub"  # the folder in the cache with downloaded runs: COMMIT/USER--NAME


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache.

    kind:    "decoded" for the pictures of a folder or of shards, "decompressed" and "downloaded" for files of a named
             set, "features" for features of images, "run" for a run from the Hugging Face Hub.
    what:    the folder, the shards, the named set, the backbone or the address that it belongs to; empty if this is
             unknown.
    bytes:   its size on disk.
    images:  the number of decoded pictures, else None.
    size:    the (H, W) that they were resized to, if any.
    orphaned: the decoded folder, or the first shard, no longer exists.
    """

    kind: Literal["decoded", "decompressed", "downloaded", "features", "run", "other"]
    what: str
    path: Path
    bytes: int
    images: int | None = None
    size: tuple[int, int] | None = None
    orphaned: bool = False

    @property
    def is_copy(self) -> bool:
        """Whether it can be recreated from other files on this machine."""
        return self.kind in ("decoded", "decompressed", "features")


def cache_entries(data: str | None = None) -> list[CacheEntry]:
    """The entries of the cache; with `data`, only those of this named set or folder."""
    root = cache_folder()
    entries = [_decoded(path) for path in _children(root / FOLDERS)]
    entries += [CacheEntry("decompressed", path.name, path, _bytes(path)) for path in _children(root / DECOMPRESSED)]
    entries += [CacheEntry("features", _network(path), path, _bytes(path)) for path in _children(root / FEATURES)]
    for path in sorted((root / HUB).glob("*/*")):
        address = f"hf://{path.name.replace('--', '/')}@{path.parent.name}"
        entries.append(CacheEntry("run", address, path, _bytes(path)))
    for path in _children(root):
        if path.name not in (FOLDERS, DECOMPRESSED, FEATURES, HUB):
            entries.append(CacheEntry("downloaded" if path.name in NAMED else "other", path.name, path, _bytes(path)))
    if data is None:
        return entries
    return [entry for entry in entries if entry.what in (data, str(Path(data).expanduser().resolve()))]


def remove_entry(entry: CacheEntry) -> None:
    """Remove an entry from the disk. Raises DataError: it cannot be removed."""
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
        images, first = int(record["shape"][0]), source.get("first", source["folder"])
        orphaned = not (is_url(first) or os.path.exists(first))
        return CacheEntry(
            "decoded", source["folder"], path, _bytes(path), images, tuple(size) if size else None, orphaned
        )
    except (OSError, ValueError, LookupError, TypeError):  # left by a killed process, or damaged
        return CacheEntry("decoded", "", path, _bytes(path), orphaned=True)


def _network(path: Path) -> str:
    try:
        return (path / NAME).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _bytes(path: Path) -> int:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())
