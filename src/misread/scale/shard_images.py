"""The images of a shard, block by block: few of them are in memory at any time."""

import os
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from misread.data.geometry import Geometry, fit_images, fit_picture
from misread.data.locations import is_url, open_file
from misread.data.parquet_pictures import parquet_pictures
from misread.data.picture import decode_picture, read_picture
from misread.data.shard_pictures import Picture, class_of
from misread.data.tar_pictures import tar_pictures
from misread.errors import DataError
from misread.scale.row_files import labels_beside, open_rows
from misread.scale.shards import Shard, file_path

BLOCK_BYTES, MOST_IN_BLOCK = 2**24, 1000  # of a block's pixels; images in a block


@dataclass(frozen=True)
class Block:
    """Consecutive images of a shard.

    keys:   n strings that name them.
    labels: n names of classes; None where there is no label.
    errors: n reasons why an image cannot be read; None where it can.
    images: (m, H, W, C) uint8, those m that can be read, in order, as the network takes them.
    """

    keys: list[str]
    labels: list[str | None]
    errors: list[str | None]
    images: np.ndarray = field(repr=False)


def read_shard(shard: Shard, class_names: Sequence[str], geometry: Geometry) -> Iterator[Block]:
    """All images of a shard, in order, in blocks whose size depends on the geometry alone.

    Pictures of any size are laid like the training images (`fit_picture`). Rows of an array are taken as they are.
    Raises DataError: the shard itself is damaged, or its rows have another shape. OSError: it cannot be read now.
    """
    count = max(1, min(MOST_IN_BLOCK, BLOCK_BYTES // (geometry.height * geometry.width * geometry.channels)))
    if shard.kind == "rows":
        yield from _rows(shard, class_names, geometry, count)
        return
    pictures = _pictures(shard, class_names)
    while several := list(islice(pictures, count)):
        yield _block(several, geometry)


def _pictures(shard: Shard, class_names: Sequence[str]) -> Iterator[Picture]:
    """The encoded pictures of a shard that is no array."""
    if shard.kind == "files":
        return _file_pictures(shard, class_names)
    return (tar_pictures if shard.kind == "tar" else parquet_pictures)(shard.path, class_names)


def images_at(
    shard: Shard, rows: Collection[int], geometry: Geometry
) -> Generator[tuple[int, Callable[[], np.ndarray]], None, None]:
    """Some rows of a shard, in order: each with a function that gives its image (H, W, C) uint8, as `read_shard` does.

    What comes after the last of them is not read.
    Raises DataError, OSError: as `read_shard`; the functions raise DataError: a picture cannot be read.
    """
    if shard.kind == "rows":
        images = open_rows(shard.path)
        for row in sorted(rows):
            yield row, partial(np.array, images[shard.start + row])
        return
    for row, picture in enumerate(islice(_pictures(shard, ()), max(rows) + 1)):
        if row in rows:
            yield row, partial(_fitted, picture, geometry)


def _rows(shard: Shard, class_names: Sequence[str], geometry: Geometry, count: int) -> Iterator[Block]:
    images, labels = open_rows(shard.path), labels_beside(shard.path)
    shape = geometry.height, geometry.width, geometry.channels
    if images.shape[1:] != shape:
        raise DataError(f"{shard.path} has images of {images.shape[1:]} (H, W, C); the run was trained on {shape}.")
    stop = len(images) if shard.stop is None else shard.stop
    for start in range(shard.start, stop, count):
        rows = range(start, min(start + count, stop))
        names = [class_of(None if labels is None else labels[row].item(), class_names) for row in rows]
        yield Block([str(row) for row in rows], names, [None] * len(rows), np.array(images[start : rows.stop]))


def _block(pictures: Iterable[Picture], geometry: Geometry) -> Block:
    keys: list[str] = []
    labels: list[str | None] = []
    errors: list[str | None] = []
    shape = geometry.height, geometry.width, geometry.channels
    images: list[np.ndarray] = []
    unfitted: list[int] = []  # those of the training shape, which are fitted together
    for picture in pictures:
        keys.append(os.fsencode(picture.key).decode("utf-8", "backslashreplace"))
        labels.append(picture.label)
        try:
            pixels = picture.read()
        except DataError as error:
            errors.append(str(error).encode("utf-8", "backslashreplace").decode())
            continue
        if pixels.shape == shape:
            unfitted.append(len(images))
        else:
            pixels = fit_picture(pixels, geometry)  # now, because it may be a large one
        images.append(pixels)
        errors.append(None)
    stacked = np.stack(images) if images else np.empty((0, *shape), np.uint8)
    stacked[unfitted] = fit_images(stacked[unfitted], geometry)
    return Block(keys, labels, errors, stacked)


def _fitted(picture: Picture, geometry: Geometry) -> np.ndarray:
    return fit_picture(picture.read(), geometry)


def _file_pictures(shard: Shard, class_names: Sequence[str]) -> Iterator[Picture]:
    """The label is the name of the folder that a file is in, if it is a class."""
    for name in shard.files:
        path = file_path(shard, name)
        folder = os.path.basename(os.path.dirname(path))
        yield Picture(name, folder if folder in class_names else None, _reader(path))


def _reader(path: str) -> Any:
    if not is_url(path):
        return lambda: read_picture(path)

    def read() -> np.ndarray:
        with open_file(path) as file:
            return decode_picture(file, path)

    return read
