"""Decodes the pictures of one shard into a file of raw pixels, with few of them in memory at a time."""

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from misread.data.picture import as_channels, resize
from misread.data.pixels_file import PixelWriter, sizes_differ
from misread.data.shard_files import shard_pictures
from misread.errors import DataError, MisreadError

BATCH_BYTES, BATCH_PICTURES = 2**20, 256  # of pixels, and pictures, that are written at once
LONGEST_LABEL = 200  # characters


class DecodedShard(NamedTuple):
    """A decoded shard.

    shape:    (M, H, W, C) of the pixels. If M is 0, no picture could be read, and H and W are meaningless.
    labels:   (M,) int32, positions in `texts`. texts: the labels that occur.
    keys:     M, that name the pictures in the shard.
    problems: a message for each picture that is left out: it cannot be read, or it has no label.
    """

    shape: tuple[int, int, int, int]
    labels: np.ndarray
    texts: list[str]
    keys: list[str]
    problems: list[str]


class LabelledPicture(NamedTuple):
    """pixels: (H, W, 1 or 3) uint8."""

    key: str
    label: str
    pixels: np.ndarray


def decode_shard(task: tuple[str, Path], size: tuple[int, int] | None) -> DecodedShard | MisreadError | OSError:
    """Decode a shard into a new file. It may run in another process, so it returns an error instead of raising it.

    task: the shard's path or URL, and the file that gets its pixels: (M, H, W, C) uint8, C = 1 if all are grey, else 3.
    size: (H, W) that every picture is resized to. Without it all must have the same size.
    Returns an OSError: the file cannot be written.
    """
    path, target = task
    problems: list[str] = []
    try:
        pictures = _labelled_pictures(path, size, problems)
        first = next(pictures, None)
        if first is None:
            return DecodedShard((0, 1, 1, 1), np.empty(0, np.int32), [], [], problems)
        height, width = first.pixels.shape[:2]
        count = max(1, min(BATCH_PICTURES, BATCH_BYTES // (3 * height * width)))
        texts: dict[str, int] = {}
        labels: list[int] = []
        keys: list[str] = []
        with target.open("w+b") as file:
            writer, pictures = PixelWriter(file), chain([first], pictures)
            while batch := list(islice(pictures, count)):
                channels = max(picture.pixels.shape[-1] for picture in batch)
                writer.append(np.stack([as_channels(picture.pixels, channels) for picture in batch]))
                labels += [texts.setdefault(picture.label, len(texts)) for picture in batch]
                keys += [picture.key for picture in batch]
        shape = writer.count, height, width, writer.channels
        return DecodedShard(shape, np.array(labels, np.int32), list(texts), keys, problems)
    except (MisreadError, OSError) as error:
        return error


def _labelled_pictures(path: str, size: tuple[int, int] | None, problems: list[str]) -> Iterator[LabelledPicture]:
    """The pictures of a shard that can be used. What is wrong with the others is added to `problems`.

    Raises DataError: the shard is damaged or cannot be read, or its pictures differ in size.
    """
    first: LabelledPicture | None = None
    try:
        for picture in shard_pictures(path):
            key = os.fsencode(picture.key).decode("utf-8", "backslashreplace")
            try:
                found = LabelledPicture(key, _checked_label(picture.label), picture.read())
            except DataError as error:
                problems.append(f"{path}, {key}: {error}".encode("utf-8", "backslashreplace").decode())
                continue
            if size:
                found = found._replace(pixels=resize(found.pixels, *size))
            first = first or found
            if found.pixels.shape[:2] != first.pixels.shape[:2]:
                raise sizes_differ(path, first.key, first.pixels.shape[:2], key, found.pixels.shape[:2])
            yield found
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _checked_label(text: str | None) -> str:
    """The name of a class. Raises DataError: it is none."""
    if text is None:
        raise DataError("It has no label.")
    if not text.isprintable() or len(text) > LONGEST_LABEL:
        raise DataError(f"The label is not one line of text: {text[:20]!r}.")
    return text
