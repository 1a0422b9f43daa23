"""An image set from shards: tar files in the form of WebDataset, and Parquet files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.data.listing import ARRAY_BYTES, class_order
from misread.data.load_progress import Lines
from misread.data.locations import PARQUETS, is_shard_name, is_url
from misread.data.parquet_pictures import parquet_class_names
from misread.data.shard_cache import decoded_shards
from misread.data.shard_files import ShardFile, shard_files
from misread.errors import DataError


def load_shards(given: str, size: tuple[int, int] | None, strict: bool, lines: Lines | None) -> ImageSet:
    """The image set of a folder of shards, or of the path, URL or pattern of shards; see `shard_files`.

    The classes are the labels of the training images, in the order of the Hugging Face metadata of a Parquet file if
    it names them. strict: a picture that cannot be used is an error. Otherwise it is left out and listed in `skipped`.
    Raises DataError: a shard is damaged, a label does not occur in train, or images differ in size without `size`.
    """
    place = given if is_url(given) else str(Path(given).expanduser().resolve())
    shards = shard_files(place)
    record, images, numbers, names = decoded_shards(place, shards, size, lines)
    problems = record["skipped"]
    if strict and problems:
        raise DataError("\n".join(problems) + "\nRepair or remove these pictures, or omit --strict.")
    ranges = _ranges(shards, record["counts"])
    if "train" not in ranges:
        raise DataError(f"{given} has no training image that can be used. {problems[0] if problems else ''}".rstrip())
    class_names = _class_names(shards, [record["texts"][k] for k in np.unique(numbers[ranges["train"]])])
    index = {name: k for k, name in enumerate(class_names)}
    classes = np.array([index.get(text, -1) for text in record["texts"]], np.int64)
    if images.nbytes <= ARRAY_BYTES:
        images = np.asarray(images)
    parts, files = {}, {}
    for split, own in ranges.items():
        labels = classes[numbers[own]]
        if labels.min() < 0:
            text = record["texts"][numbers[own][np.argmin(labels)]]
            raise DataError(
                f"{given}: the label {text!r} of the {split} split does not occur in the train split. Correct it, "
                "leave out this split, or add training images of this class."
            )
        parts[split] = images[own], labels
        if names:
            files[split] = names[own]
    return build_image_set(
        _name(place), parts, class_names=class_names, files=files, location=given, size=size,
        skipped=tuple(problems),
    )  # fmt: skip


def _ranges(shards: Sequence[ShardFile], counts: Sequence[int]) -> dict[str, slice]:
    """The images of each split that has any."""
    ranges, start = dict[str, slice](), 0
    for shard, count in zip(shards, counts, strict=True):
        if count:
            first = ranges[shard.split].start if shard.split in ranges else start
            ranges[shard.split] = slice(first, start + count)
        start += count
    return ranges


def _class_names(shards: Sequence[ShardFile], found: Sequence[str]) -> tuple[str, ...]:
    """The labels that were found, in the order of a Parquet file's metadata, or else in the order of class folders."""
    parquet = next((shard.path for shard in shards if shard.path.lower().endswith(PARQUETS)), None)
    declared = parquet_class_names(parquet) if parquet else ()
    if set(found) <= set(declared):
        return tuple(name for name in declared if name in set(found))
    return class_order(found)


def _name(place: str) -> str:
    """The name of the set: of the folder or the shard; a pattern has the name of its folder."""
    path = Path(place)
    if not is_shard_name(path.name):
        return path.name
    return (path.parent.name if "{" in path.name else path.name.split(".")[0]) or "shards"
