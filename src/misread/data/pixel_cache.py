"""The part of the cache with decoded pictures: an entry is a file of raw pixels and a record that describes its source.

Pixels are written under a unique name and become valid when a record names them. The record is written atomically.
Processes may therefore decode the same pictures at the same time, and a killed process leaves no invalid entry.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import features

from misread.data.download import cache_folder
from misread.files import sealed, unsealed, write_text

FOLDERS, RECORD, PIXELS = "folders", "record.json", ".pixels"  # a folder name, a file name, a suffix
FORMAT = 2  # of an entry; increase it when `read_picture` or `resize` change their output
HASHED_BYTES = 2**24  # hashed at once by each thread
SETTLED_NS = 2 * 10**9  # timestamp resolution: a file can change unnoticed within it; 2 s (FAT) is the coarsest
STALE_SECONDS = 3600.0  # pixels without a record, not written for this long, were left by a killed process
DAMAGED = " again (the copy in the cache is damaged)"


class Stored(NamedTuple):
    """A valid entry: its record, and its file.

    images: (M, H, W, C) uint8, mapped. labels: (M,) int32 and names: M strings, if the entry has them; else empty.
    """

    record: dict[str, Any]
    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


def entry_folder(key: str) -> Path:
    """The folder of the cache entry with this key."""
    return cache_folder() / FOLDERS / hashlib.sha256(os.fsencode(key)).hexdigest()[:16]


def describe_source(place: str, listing: str, files: int, size: tuple[int, int] | None) -> dict[str, Any]:
    """Describes the source of an entry. An entry with another source is out of date.

    place: the folder, or what else was given. listing: names, sizes and times of its files. size: that they get.
    """
    versions = ", ".join(f"{part} {features.version(part)}" for part in ("jpg", "libjpeg_turbo", "webp"))
    return {
        "format": FORMAT,
        "folder": place,
        "size": list(size) if size else None,
        "files": files,
        "files_sha256": hashlib.sha256(os.fsencode(listing)).hexdigest(),
        "decoder": f"Pillow {PIL.__version__}, {versions}",
    }


def is_settled(mtime_ns: int) -> bool:
    """Whether a file that was changed then would have another time if it changed now."""
    return mtime_ns < time.time_ns() - SETTLED_NS


def find_stored(entry: Path, source: dict[str, Any]) -> Stored | str:
    """The entry, if it is valid; or the reason to decode, as words that follow "decoding"."""
    try:
        record = unsealed((entry / RECORD).read_bytes())
        if record["source"] != source:
            return " again (files or decoders have changed)"
        if not record["settled"]:
            return " again (files had just been changed)"
        path = entry / record["pixels"]
        return open_stored(path, record) if _file_sha256(path) == record["pixels_sha256"] else DAMAGED
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError):
        return DAMAGED


@contextmanager
def new_pixels(entry: Path) -> Iterator[Path]:
    """A new path for pixels in the entry. If the block raises, the file is removed.

    Raises OSError: the entry cannot be created.
    """
    entry.mkdir(parents=True, exist_ok=True)
    path = entry / f"{os.urandom(8).hex()}{PIXELS}"
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_record(entry: Path, pixels: Path, values: dict[str, Any]) -> None:
    """Write a record that names these pixels. Remove the pixels of the previous record.

    values: the record, with the `shape` of the images in the file, and, if they are behind them, the number of
            `labels` ("<i4") and the bytes of `names` (a JSON list).
    """
    replaced = _named_pixels(entry)
    record = {**values, "pixels": pixels.name, "pixels_sha256": _file_sha256(pixels)}
    write_text(entry / RECORD, sealed(record))
    for other in entry.glob(f"*{PIXELS}"):
        try:
            stale = time.time() - other.stat().st_mtime > STALE_SECONDS
            if other != pixels and (other.name == replaced or stale):
                other.unlink()
        except OSError:
            pass  # already removed, or in use (Windows)


def open_stored(path: Path, record: dict[str, Any]) -> Stored:
    """The file of an entry, memory-mapped. Raises OSError or ValueError: it is missing, or has another size."""
    shape, labels, names = tuple(record["shape"]), record.get("labels", 0), record.get("names", 0)
    size, pixels = path.stat().st_size, math.prod(shape)
    if size != pixels + 4 * labels + names:
        raise ValueError(f"{path} has {size:,} bytes, not {shape}, {labels} labels and {names} bytes of names")
    images = np.memmap(path, np.uint8, "r", shape=shape) if pixels else np.empty(shape, np.uint8)
    numbers = np.memmap(path, "<i4", "r", pixels, (labels,)) if labels else np.empty(0, np.int32)
    text = np.memmap(path, np.uint8, "r", size - names).tobytes() if names else b"[]"
    return Stored(record, images, numbers, tuple(json.loads(text)))


def _named_pixels(entry: Path) -> str | None:
    try:
        return str(json.loads((entry / RECORD).read_text(encoding="utf-8"))["pixels"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _file_sha256(path: Path) -> str:
    """SHA-256 (hex) of the SHA-256s of blocks. All cores hash blocks in parallel."""
    flat = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)

    def digest(start: int) -> bytes:
        return hashlib.sha256(flat[start : start + HASHED_BYTES].data).digest()

    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest, range(0, len(flat), HASHED_BYTES))
        return hashlib.sha256(b"".join(digests)).hexdigest()
