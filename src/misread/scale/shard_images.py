"""The images of a shard, block by block: few of them are in memory at any time."""

import io
import os
import tarfile
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from misread.data.geometry import Geometry, fit_picture
from misread.data.picture import decode_picture, read_picture
from misread.data.picture_files import is_picture_name
from misread.errors import DataError
from misread.scale.locations import is_url, open_file
from misread.scale.parquet_images import parquet_pictures
from misread.scale.pictures import Picture, class_of
from misread.scale.row_files import labels_beside, open_rows
from misread.scale.shards import Shard, file_path

BLOCK_BYTES, MOST_IN_BLOCK = 2**24, 1000  # of a block's pixels; images in a block
LARGEST_FILE = 2**28  # bytes of one encoded picture


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
    read = {"tar": _tar_pictures, "parquet": parquet_pictures, "files": _file_pictures}[shard.kind]
    return read(shard, class_names)


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
    images: list[np.ndarray] = []
    for picture in pictures:
        keys.append(os.fsencode(picture.key).decode("utf-8", "backslashreplace"))
        labels.append(picture.label)
        try:
            images.append(_fitted(picture, geometry))
            errors.append(None)
        except DataError as error:
            errors.append(str(error).encode("utf-8", "backslashreplace").decode())
    shape = geometry.height, geometry.width, geometry.channels
    return Block(keys, labels, errors, np.stack(images) if images else np.empty((0, *shape), np.uint8))


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


def _tar_pictures(shard: Shard, class_names: Sequence[str]) -> Iterator[Picture]:
    """The samples of a WebDataset tar file: consecutive files whose names are equal up to the first dot.

    The picture is the first file with a picture's ending; the label is the text of the `.cls` file.
    """
    with open_file(shard.path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*") as tar:
                yield from _samples(tar, class_names)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{shard.path} is damaged: {error}. Make it again.") from None


def _samples(tar: tarfile.TarFile, class_names: Sequence[str]) -> Iterator[Picture]:
    key, parts = None, dict[str, bytes | str]()
    for member in tar:
        folder, name = os.path.split(member.name)
        if not member.isfile() or name.startswith((".", "__")):
            continue
        stem, _, ending = name.partition(".")
        if (found := os.path.join(folder, stem)) != key:
            if key is not None:
                yield _sample(key, parts, class_names)
            key, parts = found, {}
        if is_picture_name(f".{ending}") or ending.lower() == "cls":
            parts[f".{ending.lower()}"] = _contents(tar, member)
    if key is not None:
        yield _sample(key, parts, class_names)


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    """The bytes of a file in a tar file; or why it is not read."""
    if member.size > LARGEST_FILE:
        return f"{member.name} has {member.size:,} bytes, more than the {LARGEST_FILE:,} that a picture may have."
    file = tar.extractfile(member)
    contents = b"" if file is None else file.read()
    if len(contents) < member.size:
        raise tarfile.ReadError(f"it ends inside {member.name}")
    return contents


def _sample(key: str, parts: dict[str, bytes | str], class_names: Sequence[str]) -> Picture:
    label = parts.pop(".cls", None)
    text = label.decode("utf-8", "replace").strip() if isinstance(label, bytes) else None
    ending, contents = next(iter(parts.items()), ("", "has no picture"))
    return Picture(key, class_of(text, class_names), lambda: _decoded(key + ending, contents))


def _decoded(name: str, contents: bytes | str) -> np.ndarray:
    if isinstance(contents, str):
        raise DataError(f"{name} {contents}." if contents == "has no picture" else contents)
    return decode_picture(io.BytesIO(contents), name)
