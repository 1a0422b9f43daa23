"""A folder of IDX files, named like MNIST's."""

import re
from pathlib import Path

from misread.data.idx import parse_idx, read_bytes
from misread.data.image_set import ImageSet, build_image_set
from misread.errors import DataError

_NAME = re.compile(r"(?P<split>train|t10k|test|valid|val)[-_.]?(?P<kind>images|labels)[-_.]idx\d-ubyte(\.gz)?$")
_SPLIT = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, "images" or "labels") -> file, for the IDX files in a folder. A plain file is preferred to its `.gz`."""
    found: dict[tuple[str, str], Path] = {}
    named = [path for path in folder.iterdir() if _NAME.search(path.name) and not path.name.startswith(".")]
    for path in sorted(named):
        if (match := _NAME.search(path.name)) and path.is_file():
            found.setdefault((_SPLIT[match["split"]], match["kind"]), path)
    return found


def load_idx_folder(folder: Path) -> ImageSet:
    """An image set from a folder of IDX files named like MNIST's.

    Raises DataError: a file without its partner, truncated, damaged, or with another magic number.
    """
    found = find_idx(folder)
    parts = {}
    for split in dict.fromkeys(s for s, _ in found):
        for kind, other in (("images", "labels"), ("labels", "images")):
            if (split, kind) not in found:
                raise DataError(
                    f"{folder}: {found[split, other].name} exists, but the file with its {kind} is missing.\n"
                    "Put both into the folder."
                )
        images = parse_idx(read_bytes(found[split, "images"]), found[split, "images"], (3, 4))
        labels = parse_idx(read_bytes(found[split, "labels"]), found[split, "labels"], (1,))
        if len(images) != len(labels):
            raise DataError(
                f"{found[split, 'labels'].name} has {len(labels):,} labels but {found[split, 'images'].name} has "
                f"{len(images):,} images ({folder}).\nTake both from the same split."
            )
        parts[split] = (images, labels)
    return build_image_set(folder.resolve().name, parts, location=str(folder))
