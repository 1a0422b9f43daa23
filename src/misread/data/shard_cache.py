"""The pictures of shards as one array, decoded once and then memory-mapped from the cache, with their labels.

A small picture takes less space as pixels than in a tar file, whose headers alone have 1,024 bytes. Decoding it takes
longer than training on it. So shards are read once, from start to end, and not again in every epoch. The entry in the
cache (see `pixel_cache`) is used as long as the names, sizes and times of all shards are unchanged.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from misread.data.decode import in_order
from misread.data.load_progress import CountProgress, Lines
from misread.data.pixel_cache import (
    PIXELS,
    Stored,
    describe_source,
    entry_folder,
    find_stored,
    is_settled,
    new_pixels,
    open_stored,
    write_record,
)
from misread.data.pixels_file import BLOCK_BYTES, PixelWriter, sizes_differ
from misread.data.shard_decoding import DecodedShard, decode_shard
from misread.data.shard_files import ShardFile
from misread.errors import DataError

PROCESSES_FROM_BYTES = 2**23  # of shards; for fewer, starting the processes takes longer than they save
MOST_CLASSES = 65_536
MOST_NAMES = 1_000_000  # of pictures: more would take more memory than a training does


def decoded_shards(
    place: str, shards: Sequence[ShardFile], size: tuple[int, int] | None, lines: Lines | None
) -> Stored:
    """The pictures of all shards in order, their labels, which are positions in the record's `texts`, and their names.

    The record also has `counts`, the images of each shard, and `skipped`, a message for each picture left out.
    place: what was given for the shards. size: see `decode_shard`. lines: see `decoded_images`.
    Raises DataError: a shard is damaged, sizes differ and there is no `size`, or the cache cannot be written.
    """
    entry = entry_folder(f"shards\0{place}\0{size}")
    listing = "\n".join(f"{shard.path}\0{shard.split} {' '.join(map(str, shard.state))}" for shard in shards)
    source = {**describe_source(place, listing, len(shards), size), "first": shards[0].path}
    found = find_stored(entry, source)
    if isinstance(found, Stored):
        return found
    settled = all(is_settled(shard.state.mtime_ns) for shard in shards)
    with CountProgress(f"{place}: decoding{found}", len(shards), lines, "shards") as progress:
        try:
            with new_pixels(entry) as path:
                record = {"source": source, "settled": settled, **_decode(place, shards, size, path, progress.show)}
                write_record(entry, path, record)
                return open_stored(path, record)
        except OSError as error:
            raise DataError(
                f"The images of {place} cannot be decoded into the cache {entry.parent}: {error.strerror or error}.\n"
                "Free some space, or set MISREAD_CACHE to a folder on another disk."
            ) from None


def _decode(
    place: str, shards: Sequence[ShardFile], size: tuple[int, int] | None, target: Path, show: Callable[[int], None]
) -> dict[str, Any]:
    """Write the pixels of all shards, their labels and their names to a file. Returns what the record says of them."""
    tasks = [(shard.path, target.with_name(f"{target.stem}-{i}{PIXELS}")) for i, shard in enumerate(shards)]
    apart = sum(shard.state.bytes for shard in shards) >= PROCESSES_FROM_BYTES and len(shards) > 1
    results = in_order(
        partial(decode_shard, size=size), tasks, apart=apart, most=len(tasks), describe=lambda task: f"{task[0]}. It"
    )
    joined, names, short = _Joined(place), b"", _short_names([shard.path for shard in shards])
    try:
        with target.open("w+b") as file, closing(results):
            writer = PixelWriter(file)
            for done, ((path, part), name, decoded) in enumerate(zip(tasks, short, results, strict=True), 1):
                if isinstance(decoded, Exception):
                    raise decoded
                joined.add(path, name, decoded)
                _append(writer, part, decoded)
                part.unlink(missing_ok=True)
                show(done)
            for labels in joined.labels:
                file.write(labels.astype("<i4").data)
            if joined.names:
                names = json.dumps(joined.names).encode()
                file.write(names)
    finally:
        for _, part in tasks:
            part.unlink(missing_ok=True)
    height, width = joined.size
    return {
        "shape": (writer.count, height, width, writer.channels), "labels": writer.count, "names": len(names),
        "counts": joined.counts, "texts": list(joined.texts), "skipped": joined.problems,
    }  # fmt: skip


class _Joined:
    """What decoded shards have together: labels and their texts, names, counts of images, problems, and one size.

    names: `SHARD/KEY` of each picture; none if there are more than `MOST_NAMES`.
    """

    def __init__(self, place: str) -> None:
        self.place, self.size = place, (1, 1)
        self.names: list[str] = []
        self.first: tuple[str, DecodedShard] | None = None  # the first one with images, and its path
        self.texts: dict[str, int] = {}
        self.labels: list[np.ndarray] = []
        self.counts: list[int] = []
        self.problems: list[str] = []

    def add(self, path: str, name: str, decoded: DecodedShard) -> None:
        """name: of the shard, as part of the pictures' names.

        Raises DataError: its images have another size, or there are too many labels."""
        count, height, width, _ = decoded.shape
        if count and self.first is None:
            self.first, self.size = (path, decoded), (height, width)
        if count and self.first and (height, width) != self.size:
            first_path, first = self.first
            raise sizes_differ(
                self.place, f"{first.keys[0]} in {first_path}", self.size,
                f"{decoded.keys[0]} in {path}", (height, width),
            )  # fmt: skip
        numbers = np.array([self.texts.setdefault(text, len(self.texts)) for text in decoded.texts], np.int32)
        if len(self.texts) > MOST_CLASSES:
            raise DataError(
                f"{self.place} has more than {MOST_CLASSES:,} different labels; the last is {decoded.texts[-1]!r}. "
                "A label must be the name or number of a class."
            )
        self.labels.append(numbers[decoded.labels])
        self.counts.append(count)
        if sum(self.counts) > MOST_NAMES:
            self.names = []
        else:
            self.names += [f"{name}/{key}" for key in decoded.keys]
        self.problems += decoded.problems


def _short_names(paths: Sequence[str]) -> list[str]:
    """The last parts of the paths, as many as make them different."""
    parts = [path.replace("\\", "/").split("/") for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _append(writer: PixelWriter, part: Path, decoded: DecodedShard) -> None:
    """Append the pictures in the file of a decoded shard, few at a time."""
    count, *shape = decoded.shape
    if count:
        pixels = np.memmap(part, np.uint8, "r", shape=decoded.shape)
        step = max(1, BLOCK_BYTES // int(np.prod(shape)))
        for start in range(0, count, step):
            writer.append(pixels[start : start + step])
