"""A list of picture files with their labels and splits, and the image set that it becomes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from misread.data.folder_cache import decoded_images
from misread.data.image_set import ImageSet, build_image_set
from misread.data.load_progress import Lines
from misread.data.picture_files import PictureFile
from misread.errors import DataError

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
}  # fmt: skip

ARRAY_BYTES = 2**28  # images up to here are plain arrays, which are easier to work with; more stay in their file


@dataclass
class LabelledFiles:
    """Files of one split, in order, and the class index of each."""

    files: list[PictureFile] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """What a folder says of its pictures; none of them has been opened.

    folder:      what the files' names are relative to.
    class_names: K names; label k is `class_names[k]`.
    places:      for each class where its training images come from, to begin a message with.
    splits:      the splits in the order in which their images are read.
    problems:    files that are missing, a line each; they are left out.
    """

    folder: Path
    class_names: tuple[str, ...]
    places: tuple[str, ...]
    splits: dict[str, LabelledFiles]
    problems: tuple[str, ...] = ()


def load_listing(
    listing: Listing, name: str, location: str, size: tuple[int, int] | None, strict: bool, lines: Lines | None
) -> ImageSet:
    """The image set of the files in a listing.

    strict: a file that cannot be read is an error; otherwise it is left out and listed in `skipped`.
    Raises DataError: a class without images, or differing sizes without `size`.
    """
    files = [file for split in listing.splits.values() for file in split.files]
    labels = np.array([label for split in listing.splits.values() for label in split.labels], np.int64)
    images, positions, problems = decoded_images(listing.folder, files, size, lines)
    if images.nbytes <= ARRAY_BYTES:
        images = np.asarray(images)
    problems = [*listing.problems, *problems]
    if problems and strict:
        raise DataError("\n".join(problems) + "\nRepair or remove what cannot be read, or leave --strict out.")
    parts, names, start = {}, {}, 0
    for split, listed in listing.splits.items():
        first, last = np.searchsorted(positions, (start, start + len(listed.files)))
        kept = positions[first:last]
        parts[split] = images[first:last], labels[kept]
        names[split] = tuple(files[position].name for position in kept)
        start += len(listed.files)
    with_images = np.bincount(parts["train"][1], minlength=len(listing.class_names)) > 0
    if not with_images.all():
        place = listing.places[int(np.argmin(with_images))]
        raise DataError(f"{place} has no images that can be read. Add some, or remove the class.")
    return build_image_set(
        name, parts, class_names=listing.class_names, files=names, location=location, size=size,
        skipped=tuple(problems),
    )  # fmt: skip


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes in order: by number where all are numbers, so that 10 comes after 9, else as text."""
    ordered = sorted(names)
    return tuple(sorted(ordered, key=int) if all(name.isdecimal() for name in ordered) else ordered)
