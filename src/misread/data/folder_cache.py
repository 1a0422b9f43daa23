"""The pictures of a folder as one array, decoded once and then memory-mapped from the cache.

A cache entry is a file of raw pixels and a record that describes its source. It is used only if

- the names, sizes and times of all files are unchanged (the record has a digest of them), and so are the versions of
  the decoders;
- the pixels still have the SHA-256 that they had when they were written;
- the files that could not be read then still cannot be read.

Otherwise the files are decoded again. Pixels are written under a unique name and become valid when a record names
them. The record is written atomically. Processes may therefore decode the same folder at the same time, and a killed
process leaves no invalid entry. Labels and splits are not part of the entry.
"""

import hashlib
import io
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import features

from misread.data.download import cache_folder
from misread.data.load_progress import CountProgress, Lines
from misread.data.memory import check_fits
from misread.data.picture import read_picture
from misread.data.picture_files import PictureFile
from misread.data.pixels_file import Written, write_pixels
from misread.errors import DataError
from misread.files import write_text

FOLDERS, RECORD, PIXELS = "folders", "record.json", ".pixels"  # a folder name, a file name, a suffix
FORMAT = 1  # of an entry; increase it when `read_picture` or `resize` change their output
HASHED_BYTES = 2**24  # hashed at once by each thread
SETTLED_NS = 2 * 10**9  # timestamp resolution: a file can change unnoticed within it; 2 s (FAT) is the coarsest
STALE_SECONDS = 3600.0  # pixels without a record, not written for this long, were left by a killed process


class Decoded(NamedTuple):
    """The files of a folder that could be decoded.

    images:    (M, H, W, C) uint8: a memory map of the file in the cache, or an array if the cache cannot be written.
    positions: (M,) int64, ascending: for each image the position of its file.
    problems:  a message for each file that could not be read.
    """

    images: np.ndarray
    positions: np.ndarray
    problems: list[str]


def decoded_images(
    folder: Path, files: Sequence[PictureFile], size: tuple[int, int] | None, lines: Lines | None
) -> Decoded:
    """The pictures of these files in `folder`, in the same order. C is 1 if all are grey, else 3.

    size:  (H, W) that every picture is resized to. Without it all must have the same size.
    lines: called with lines of progress and notes; None shows nothing.
    Raises DataError: sizes differ, and there is no `size`.
    """
    entry, source = _entry(folder, size), _source(folder, files, size)
    names = [file.name for file in files]
    found = _find(entry, source, folder, names)
    if isinstance(found, Decoded):
        return found
    with CountProgress(f"{folder.resolve().name}: decoding{found}", len(files), lines) as progress:
        try:
            settled = all(file.mtime_ns < time.time_ns() - SETTLED_NS for file in files)
            with _new_pixels(entry) as path:
                with path.open("w+b") as file:
                    written = write_pixels(file, folder, names, size, progress.show)
                images = _map(path, written.shape)
                _write_record(entry, path, images, {"source": source, "skipped": written.skipped, "settled": settled})
            return _decoded(images, written, len(names))
        except OSError as error:
            if lines:
                lines(
                    f"The decoded images cannot be cached in {entry.parent}: {error.strerror}. They are decoded "
                    "into memory\non every load. Free some space, or set MISREAD_CACHE to a folder on another disk."
                )
        if size:
            check_fits(len(files) * size[0] * size[1], f"{folder} decoded into memory", "Use a smaller size.")
        memory = io.BytesIO()
        written = write_pixels(memory, folder, names, size, progress.show)
    return _decoded(np.frombuffer(memory.getbuffer(), np.uint8).reshape(written.shape), written, len(names))


def _entry(folder: Path, size: tuple[int, int] | None) -> Path:
    """The cache entry for this folder at this size."""
    key = f"{folder.resolve()}\0{size}"
    return cache_folder() / FOLDERS / hashlib.sha256(os.fsencode(key)).hexdigest()[:16]


def _source(folder: Path, files: Sequence[PictureFile], size: tuple[int, int] | None) -> dict[str, Any]:
    """Describes the source of an entry. An entry with another source is out of date."""
    listing = "\n".join(f"{f.name}\0{f.bytes} {f.mtime_ns} {f.ctime_ns}" for f in files)
    versions = ", ".join(f"{part} {features.version(part)}" for part in ("jpg", "libjpeg_turbo", "webp"))
    return {
        "format": FORMAT,
        "folder": str(folder.resolve()),
        "size": list(size) if size else None,
        "files": len(files),
        "files_sha256": hashlib.sha256(os.fsencode(listing)).hexdigest(),
        "decoder": f"Pillow {PIL.__version__}, {versions}",
    }


def _find(entry: Path, source: dict[str, Any], folder: Path, names: Sequence[str]) -> Decoded | str:
    """The pixels of the entry, mapped; or the reason to decode, as words that follow "decoding"."""
    try:
        record = json.loads((entry / RECORD).read_text(encoding="utf-8"))
        if record["source"] != source:
            return " again (files or decoders have changed)"
        if not record["settled"]:
            return " again (files had just been changed)"
        written = Written(tuple(record["shape"]), record["skipped"], [])
        images = _map(entry / record["pixels"], written.shape)
        if _pixels_sha256(images) != record["pixels_sha256"]:
            return " again (the copy in the cache is damaged)"
        for position in written.skipped:
            try:
                read_picture(folder / names[position])
                return " again (a file can be read now)"
            except DataError as error:
                written.problems.append(str(error))
        return _decoded(images, written, len(names))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError):
        return " again (the copy in the cache is damaged)"


@contextmanager
def _new_pixels(entry: Path) -> Iterator[Path]:
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


def _write_record(entry: Path, pixels: Path, images: np.ndarray, values: dict[str, Any]) -> None:
    """Write a record that names these pixels. Remove the pixels of the previous record."""
    replaced = _named_pixels(entry)
    record = {**values, "shape": images.shape, "pixels": pixels.name, "pixels_sha256": _pixels_sha256(images)}
    write_text(entry / RECORD, json.dumps(record, indent=2))
    for other in entry.glob(f"*{PIXELS}"):
        try:
            stale = time.time() - other.stat().st_mtime > STALE_SECONDS
            if other != pixels and (other.name == replaced or stale):
                other.unlink()
        except OSError:
            pass  # already removed, or in use (Windows)


def _named_pixels(entry: Path) -> str | None:
    try:
        return str(json.loads((entry / RECORD).read_text(encoding="utf-8"))["pixels"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels in a file, memory-mapped. Raises OSError or ValueError: it is missing, or has another size."""
    size = path.stat().st_size
    if size != math.prod(shape):
        raise ValueError(f"{path} has {size:,} bytes, not {shape}")
    return np.memmap(path, np.uint8, "r", shape=shape) if size else np.empty(shape, np.uint8)


def _pixels_sha256(images: np.ndarray) -> str:
    """SHA-256 (hex) of the SHA-256s of blocks. All cores hash blocks in parallel."""
    flat = images.reshape(-1)

    def digest(start: int) -> bytes:
        return hashlib.sha256(flat[start : start + HASHED_BYTES].data).digest()

    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest, range(0, len(flat), HASHED_BYTES))
        return hashlib.sha256(b"".join(digests)).hexdigest()


def _decoded(images: np.ndarray, written: Written, files: int) -> Decoded:
    return Decoded(images, np.delete(np.arange(files), written.skipped), written.problems)
