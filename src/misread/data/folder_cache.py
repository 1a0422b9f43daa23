"""The pictures of a folder as one array, decoded once and then memory-mapped from the cache.

A cache entry (see `pixel_cache`) is used only if

- the names, sizes and times of all files are unchanged (the record has a digest of them), and so are the versions of
  the decoders;
- the pixels still have the SHA-256 that they had when they were written;
- the files that could not be read then still cannot be read.

Otherwise the files are decoded again. Labels and splits are not part of the entry.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from misread.data.load_progress import CountProgress, Lines
from misread.data.memory import check_fits
from misread.data.picture import read_picture
from misread.data.picture_files import PictureFile
from misread.data.pixel_cache import (
    DAMAGED,
    Stored,
    describe_source,
    entry_folder,
    find_stored,
    is_settled,
    new_pixels,
    open_stored,
    write_record,
)
from misread.data.pixels_file import Written, write_pixels
from misread.errors import DataError


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
    entry, source = entry_folder(f"{folder.resolve()}\0{size}"), _source(folder, files, size)
    names = [file.name for file in files]
    stored = find_stored(entry, source)
    found = _checked(stored, folder, names) if isinstance(stored, Stored) else stored
    if isinstance(found, Decoded):
        return found
    with CountProgress(f"{folder.resolve().name}: decoding{found}", len(files), lines) as progress:
        try:
            settled = all(is_settled(file.mtime_ns) for file in files)
            with new_pixels(entry) as path:
                with path.open("w+b") as file:
                    written = write_pixels(file, folder, names, size, progress.show)
                record = {"source": source, "skipped": written.skipped, "settled": settled, "shape": written.shape}
                images = open_stored(path, record).images
                write_record(entry, path, record)
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


def _source(folder: Path, files: Sequence[PictureFile], size: tuple[int, int] | None) -> dict[str, Any]:
    listing = "\n".join(f"{f.name}\0{f.bytes} {f.mtime_ns} {f.ctime_ns}" for f in files)
    return describe_source(str(folder.resolve()), listing, len(files), size)


def _checked(stored: Stored, folder: Path, names: Sequence[str]) -> Decoded | str:
    """The images of an entry; or the reason to decode: a file that could not be read can be read now."""
    written = Written(tuple(stored.images.shape), [], [])
    try:
        for position in stored.record["skipped"]:
            try:
                read_picture(folder / names[position])
                return " again (a file can be read now)"
            except DataError as error:
                written.skipped.append(position)
                written.problems.append(str(error))
        return _decoded(stored.images, written, len(names))
    except (OSError, ValueError, LookupError, TypeError):
        return DAMAGED


def _decoded(images: np.ndarray, written: Written, files: int) -> Decoded:
    return Decoded(images, np.delete(np.arange(files), written.skipped), written.problems)
