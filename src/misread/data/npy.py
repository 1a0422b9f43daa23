"""Folders of `.npy` files, one for images and one for labels. Images are memory-mapped: they may exceed the memory."""

import math
import os
import re
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.data.memory import check_fits
from misread.errors import DataError

_NAMES = (
    re.compile(r"(?P<split>train|validation|valid|val|test)[-_.](?P<kind>images|labels)\.npy", re.IGNORECASE),
    re.compile(r"(?P<kind>[xy])[-_](?P<split>train|validation|valid|val|test)\.npy", re.IGNORECASE),
    re.compile(r"(?P<kind>images|labels)(?P<split>)\.npy", re.IGNORECASE),
)
_SPLIT = {"": "train", "train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_KIND = {"images": "images", "x": "images", "labels": "labels", "y": "labels"}
_KNOWN = "train-images.npy and train-labels.npy, x_train.npy and y_train.npy, or images.npy and labels.npy"
CLASS_NAMES = "class_names.npy"


class Header(NamedTuple):
    """What an `.npy` says about its array. offset: of the values, in bytes from the beginning."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    offset: int


def find_npy(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, "images" or "labels") -> file, for the `.npy` files in a folder with known names.

    Raises DataError: two files stand for the same part of the set.
    """
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.[nN][pP][yY]")):
        match = next((m for pattern in _NAMES if (m := pattern.fullmatch(path.name))), None)
        if match is None or not path.is_file():
            continue
        part = _SPLIT[match["split"].lower()], _KIND[match["kind"].lower()]
        if part in found:
            raise DataError(
                f"{folder} has {found[part].name} and {path.name}, both for the {' '.join(part)}.\nKeep one of them."
            )
        found[part] = path
    return found


def load_npy(path: Path) -> ImageSet:
    """An image set from a folder of `.npy` files, or from one of those files and the others beside it.

    Images are memory-mapped, so they must be uint8. `class_names.npy`, an array of K strings, is read if it exists.
    Nothing is unpickled.
    Raises DataError: a file without its partner, truncated, damaged, or not uint8 images.
    """
    folder = path if path.is_dir() else path.parent
    found = find_npy(folder)
    if path.is_file() and path not in found.values():
        raise DataError(f"{path} does not have a known name for images or labels.\nName the files {_KNOWN}.")
    parts = {}
    for split in dict.fromkeys(s for s, _ in found):
        for kind, other in (("images", "labels"), ("labels", "images")):
            if (split, kind) not in found:
                raise DataError(
                    f"{folder}: {found[split, other].name} exists, but the file with its {kind} is missing.\n"
                    f"Put both into the folder, named {_KNOWN}."
                )
        parts[split] = (map_images(found[split, "images"]), read_npy(found[split, "labels"]))
    names = folder / CLASS_NAMES
    class_names = [str(name) for name in read_npy(names)] if names.is_file() else None
    return build_image_set(folder.resolve().name, parts, class_names=class_names, location=str(folder))


def map_images(path: Path) -> np.memmap:
    """The uint8 array in an `.npy`, memory-mapped, read-only. Raises DataError: damaged, or another dtype or order."""
    shape, fortran_order, dtype, offset = _header(path)
    if dtype != np.uint8:
        raise DataError(
            f"{path}: values are {dtype}, but images in an .npy are memory-mapped, so they must be uint8, 0..255.\n"
            "Convert floats in 0..1 with np.rint(images * 255).astype(np.uint8)."
        )
    if fortran_order and len(shape) > 1:
        raise DataError(
            f"{path} is in Fortran order, which spreads every image over the whole file.\n"
            "Save np.ascontiguousarray(images) instead."
        )
    try:
        return np.memmap(path, np.uint8, "r", offset, shape)
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}. Save it again.") from None
    except OSError as error:  # a file system without memory mapping, or too little address space
        raise DataError(f"{path} cannot be memory-mapped: {error.strerror}. Copy it to a local disk.") from None


def read_npy(path: Path) -> np.ndarray:
    """Read the array in an `.npy`. Raises DataError: damaged, not an `.npy`, Python objects inside, or too large."""
    shape, _, dtype, _ = _header(path)
    check_fits(dtype.itemsize * math.prod(shape), f"The array in {path}", "Save a smaller one.")
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:  # more dimensions than NumPy has, for example
        raise DataError(f"{path} cannot be read: {error}. Save it again.") from None


def _header(path: Path) -> Header:
    """The header of a complete file."""
    try:
        with path.open("rb") as file:
            return read_header(file, str(path), os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def read_header(file: IO[bytes], where: str, actual: int) -> Header:
    """The header of an `.npy` that has `actual` bytes. Nothing is allocated for its values.

    Raises DataError: damaged, Python objects inside, or a header that does not fit the number of bytes.
    """
    try:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
        offset = file.tell()
    except ValueError as error:
        raise DataError(f"{where} is damaged or not an .npy file: {error}. Save it again.") from None
    if dtype.hasobject:
        raise DataError(
            f"{where} contains Python objects, which misread never unpickles. Save numeric arrays with numpy.save."
        )
    expected = offset + dtype.itemsize * math.prod(shape)
    if actual != expected or min(shape, default=0) < 0:
        raise DataError(
            f"{where} is {'too long' if actual > expected else 'truncated'}: its header gives "
            f"{' x '.join(map(str, shape))} {dtype}, so {expected:,} bytes, but it has {actual:,}. Save it again."
        )
    return Header(shape, fortran_order, dtype, offset)
