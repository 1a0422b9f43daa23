"""Lists of picture files with their labels and splits, and loading an image set from such a list."""

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

ARRAY_BYTES = 2**28  # smaller sets become plain arrays, which are easier to use; larger ones stay memory-mapped


@dataclass
class LabelledFiles:
    """The files of one split in order, and the class index of each."""

    files: list[PictureFile] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Listing:
    """The picture files of a data set with their labels and splits. No file has been opened.

    folder:      the file names are relative to it.
    class_names: K names; label k is `class_names[k]`.
    places:      for each class the source of its training images, as the beginning of a message.
    splits:      the splits in the order in which their images are read.
    problems:    a message for each file that is missing and left out.
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

    strict: an unreadable file is an error. Otherwise it is left out and listed in `skipped`.
    Raises DataError: a class without images, or images of different sizes without `size`.
    """
    files = [file for split in listing.splits.values() for file in split.files]
    labels = np.array([label for split in listing.splits.values() for label in split.labels], np.int64)
    images, positions, problems = decoded_images(listing.folder, files, size, lines)
    if images.nbytes <= ARRAY_BYTES:
        images = np.asarray(images)
    problems = [*listing.problems, *problems]
    if problems and strict:
        raise DataError("\n".join(problems) + "\nRepair or remove these files, or omit --strict.")
    parts, names, start = {}, {}, 0
    for split, listed in listing.splits.items():
        first, last = np.searchsorted(positions, (start, start + len(listed.files)))
        decoded = positions[first:last]
        parts[split] = images[first:last], labels[decoded]
        names[split] = tuple(files[position].name for position in decoded)
        start += len(listed.files)
    with_images = np.bincount(parts["train"][1], minlength=len(listing.class_names)) > 0
    if not with_images.all():
        place = listing.places[int(np.argmin(with_images))]
        raise DataError(f"{place} has no readable images. Add some, or remove the class.")
    return build_image_set(
        name, parts, class_names=listing.class_names, files=names, location=location, size=size,
        skipped=tuple(problems),
    )  # fmt: skip


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by value if all are numbers, so that 10 comes after 9, else alphabetically."""
    ordered = sorted(names)
    return tuple(sorted(ordered, key=int) if all(name.isdecimal() for name in ordered) else ordered)
