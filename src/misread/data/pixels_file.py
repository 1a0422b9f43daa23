"""Decodes many picture files into one file of raw pixels, with little memory."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from misread.data.decode import Prepare, decode, of_size, read_first, resized
from misread.errors import DataError

BLOCK_BYTES = 2**24  # rewritten at once


class Written(NamedTuple):
    """The result of decoding files.

    shape:    (M, H, W, C) of the pixels in the file. If M is 0, no file could be read, and H and W are meaningless.
    skipped:  the positions of the files that could not be read, ascending.
    problems: a message for each of those files.
    """

    shape: tuple[int, int, int, int]
    skipped: list[int]
    problems: list[str]


class PixelWriter:
    """Appends pictures of one size to an empty file of raw pixels: grey ones until the first with colour, then RGB.

    file: open for reading and writing. count, channels: of the pictures in it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count, self.channels = file, 0, 1

    def append(self, pictures: np.ndarray) -> None:
        """pictures: (n, H, W, 1 or 3) uint8. Raises OSError: the file cannot be written."""
        if pictures.shape[-1] > self.channels:
            _repeat_channels(self.file, self.count * pictures.shape[1] * pictures.shape[2])
            self.channels = 3
        self.file.write(_with_channels(pictures, self.channels).data)
        self.count += len(pictures)


def write_pixels(
    file: BinaryIO, folder: Path, names: Sequence[str], size: tuple[int, int] | None, show: Callable[[int], None]
) -> Written:
    """Decode the files with these names in `folder` and append their pixels, uint8 (H, W, C), to an empty `file`.

    C is 1 if all pictures are grey, else 3.
    file: open for reading and writing.
    size: (H, W) that every picture is resized to. Without it all must have the same size.
    show: called with the number of files done.
    Raises DataError: sizes differ, and there is no `size`. Raises OSError: the file cannot be written.
    """
    paths = [str(folder / name) for name in names]
    first = read_first(paths)
    height, width = size or (first[1].shape[:2] if first else (1, 1))
    prepare: Prepare = partial(resized if size else of_size, height=height, width=width)
    writer, done = PixelWriter(file), 0
    skipped: list[int] = []
    problems: list[str] = []
    with closing(decode(paths, prepare, height * width)) as batches:
        for batch in batches:
            for position, outcome in enumerate(batch.outcomes, done):
                if isinstance(outcome, str):
                    skipped.append(position)
                    problems.append(outcome)
                elif outcome is not None and first is not None:
                    raise sizes_differ(str(folder), names[first[0]], (height, width), names[position], outcome)
            if batch.pixels is not None:
                writer.append(batch.pixels)
            done += len(batch.outcomes)
            show(done)
    return Written((writer.count, height, width, writer.channels), skipped, problems)


def sizes_differ(
    place: str, first: str, first_size: tuple[int, int], other: str, other_size: tuple[int, int]
) -> DataError:
    """The error about two pictures of a place that differ in size, each with its name and its (H, W)."""
    (h, w), (other_h, other_w) = first_size, other_size
    return DataError(
        f"The images in {place} differ in size: {first} is {h}x{w}, {other} is {other_h}x{other_w} "
        f"(height x width).\nResize them to one size, for example with --size {min(h, other_h)}x{min(w, other_w)}."
    )


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(n, H, W, 1 or 3) as (n, H, W, channels), contiguous. Colour never becomes grey."""
    if pixels.shape[-1] < channels:
        pixels = np.repeat(pixels, channels, axis=-1)
    return np.ascontiguousarray(pixels)


def _repeat_channels(file: BinaryIO, pixels: int) -> None:
    """Convert grey pixels in a file to RGB in place. It starts at the end, so it overwrites no unread pixel."""
    for stop in range(pixels, 0, -BLOCK_BYTES):
        start = max(0, stop - BLOCK_BYTES)
        file.seek(start)
        grey = np.frombuffer(file.read(stop - start), np.uint8)
        file.seek(3 * start)
        file.write(np.repeat(grey, 3).data)
    file.seek(3 * pixels)
