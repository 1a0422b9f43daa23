"""The shards of a data set: tar files in the form of WebDataset, and Parquet files."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from misread.data.listing import SPLIT_NAMES
from misread.data.locations import PARQUETS, FileState, file_state, is_shard_name, is_url
from misread.data.parquet_pictures import parquet_pictures
from misread.data.patterns import expand_pattern
from misread.data.shard_pictures import Picture
from misread.data.tar_pictures import tar_pictures


class ShardFile(NamedTuple):
    """A shard of a data set: its path or URL, its split, and the state of the file."""

    path: str
    split: str
    state: FileState


def shards_in(folder: Path) -> list[str]:
    """The paths of the shards in a folder, in the order of their names; none if it has subfolders.

    An archive beside class folders is their download, and no shard.
    """
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    if any(entry.is_dir() for entry in visible):
        return []
    return sorted(entry.path for entry in visible if is_shard_name(entry.name) and entry.is_file())


def shard_files(given: str) -> list[ShardFile]:
    """The shards of a folder, a path, a URL or a pattern: first those of train, then val, then test.

    The first word of a name is the split (`train-000.tar`, `validation-00000-of-00002.parquet`), or else its folder
    is (`test/000.tar`), if this holds for all shards and one of them is for training. Otherwise all are train.
    Raises DataError: a shard does not exist or cannot be read.
    """
    paths = shards_in(Path(given)) if not is_url(given) and Path(given).is_dir() else expand_pattern(given)
    splits = [_split_of(path) for path in paths]
    named = "train" in splits and None not in splits
    shards = [
        ShardFile(path, split if named and split else "train", file_state(path))
        for path, split in zip(paths, splits, strict=True)
    ]
    order = list(dict.fromkeys(SPLIT_NAMES.values()))
    return sorted(shards, key=lambda shard: order.index(shard.split))


def shard_pictures(path: str) -> Iterator[Picture]:
    """The pictures of a shard, in order. Their labels are texts, also those that are numbers there.

    Raises DataError: the shard is damaged, or cannot be read.
    """
    return (parquet_pictures if path.lower().endswith(PARQUETS) else tar_pictures)(path, ())


def _split_of(path: str) -> str | None:
    """The split that a shard is named for."""
    *folders, name = path.replace("\\", "/").split("/")
    for part in (name, *folders[-1:]):
        word = re.match(r"[a-z]*", part.lower())
        if word and word[0] in SPLIT_NAMES:
            return SPLIT_NAMES[word[0]]
    return None
