"""Many picture files decoded into one file of raw pixels, of which little is in memory at any time."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from misread.data.decode import Prepare, decode, of_size, read_first, resized
from misread.errors import DataError

BLOCK_BYTES = 2**24  # rewritten at a time


class Written(NamedTuple):
    """What was decoded.

    shape:    (M, H, W, C) of the pixels in the file. M is 0 where no file could be read; H and W then say nothing.
    skipped:  the positions of the files that could not be read, ascending.
    problems: why each of those could not be read.
    """

    shape: tuple[int, int, int, int]
    skipped: list[int]
    problems: list[str]


def write_pixels(
    file: BinaryIO, folder: Path, names: Sequence[str], size: tuple[int, int] | None, show: Callable[[int], None]
) -> Written:
    """Decode the files of these names in `folder` and append their pixels, uint8 (H, W, C), to an empty `file`.

    C is 1 where all pictures are grey, else 3.
    file: opened for reading and writing.
    size: (H, W) that every picture is resized to. Without it all must have one size.
    show: called with how many files are done.
    Raises DataError: sizes differ, and there is no `size`. Raises OSError: the file cannot be written.
    """
    paths = [str(folder / name) for name in names]
    first = read_first(paths)
    height, width = size or (first[1].shape[:2] if first else (1, 1))
    prepare: Prepare = partial(resized if size else of_size, height=height, width=width)
    count, channels, done = 0, 1, 0
    skipped: list[int] = []
    problems: list[str] = []
    with closing(decode(paths, prepare, height * width)) as batches:
        for batch in batches:
            for position, outcome in enumerate(batch.outcomes, done):
                if isinstance(outcome, str):
                    skipped.append(position)
                    problems.append(outcome)
                elif outcome is not None and first is not None:
                    raise _sizes_differ(folder, names[first[0]], (height, width), names[position], outcome)
            if batch.pixels is not None:
                if batch.pixels.shape[-1] > channels:
                    _repeat_channels(file, count * height * width)
                    channels = 3
                file.write(_with_channels(batch.pixels, channels).data)
                count += len(batch.pixels)
            done += len(batch.outcomes)
            show(done)
    return Written((count, height, width, channels), skipped, problems)


def _sizes_differ(
    folder: Path, first: str, first_size: tuple[int, int], other: str, other_size: tuple[int, int]
) -> DataError:
    (h, w), (other_h, other_w) = first_size, other_size
    return DataError(
        f"The images in {folder} differ in size: {first} is {h}x{w}, {other} is {other_h}x{other_w} "
        f"(height x width).\nName the size to bring them to, for example --size {min(h, other_h)}x{min(w, other_w)}."
    )


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(n, H, W, 1 or 3) as (n, H, W, channels), contiguous; colour never becomes grey here."""
    if pixels.shape[-1] < channels:
        pixels = np.repeat(pixels, channels, axis=-1)
    return np.ascontiguousarray(pixels)


def _repeat_channels(file: BinaryIO, pixels: int) -> None:
    """Make the grey pixels in a file RGB, in place: from the end, so that none is written over before it is read."""
    for stop in range(pixels, 0, -BLOCK_BYTES):
        start = max(0, stop - BLOCK_BYTES)
        file.seek(start)
        grey = np.frombuffer(file.read(stop - start), np.uint8)
        file.seek(3 * start)
        file.write(np.repeat(grey, 3).data)
    file.seek(3 * pixels)
