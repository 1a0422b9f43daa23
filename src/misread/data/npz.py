"""NumPy `.npz` files with Keras's keys: x_train, y_train, x_test, y_test, and optionally x_val, y_val."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from misread.data.idx import MOST_DEFLATED
from misread.data.image_set import ImageSet, build_image_set
from misread.data.memory import check_fits, size_text
from misread.data.npy import read_header
from misread.errors import DataError

SPARE = 64  # bytes: a short member may be longer than the ratio allows


def load_npz(path: Path) -> ImageSet:
    """An image set from an `.npz`. `class_names`, an array of K strings, is optional. Nothing is unpickled.

    Raises DataError: not an `.npz`, damaged, keys missing, or arrays of Python objects.
    """
    arrays = read_npz(path)
    parts = {
        split: (arrays[f"x_{split}"], arrays[f"y_{split}"])
        for split in ("train", "val", "test")
        if f"x_{split}" in arrays and f"y_{split}" in arrays
    }
    if "train" not in parts:
        raise DataError(
            f"{path} has the keys {', '.join(arrays) or '(none)'}, but needs x_train and y_train. "
            "x_test, y_test, x_val and y_val are optional."
        )
    names = arrays.get("class_names")
    class_names = None if names is None else [str(n) for n in names]
    return build_image_set(path.stem, parts, class_names=class_names, location=str(path))


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays in an `.npz` by their keys.

    Raises DataError: damaged, not an `.npz`, Python objects inside, sizes that do not fit the file or the memory.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            _check_sizes(archive, path, os.fstat(file.fileno()).st_size)
            for member in _members(archive):
                with archive.open(member) as contents:
                    arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(
                        contents, allow_pickle=False
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or not an .npz file: {error}. Save it again.") from None
    except ValueError as error:
        raise DataError(
            f"{path}: an array cannot be read safely ({error}).\n"
            "misread never unpickles. Save numeric arrays with numpy.savez."
        ) from None
    return arrays


def _check_sizes(archive: zipfile.ZipFile, path: Path, size: int) -> None:
    """Compare what the headers of all arrays claim with the file and with the memory, before any is read."""
    total = 0
    for member in _members(archive):
        where, claimed = f"{path}: the array {member.filename}", member.file_size
        packed = min(member.compress_size, size)
        if claimed > packed * (MOST_DEFLATED if member.compress_type else 1) + SPARE:
            raise DataError(
                f"{where} claims {size_text(claimed)}, but the file has {size_text(packed)} of it. Save it again."
            )
        with archive.open(member) as contents:
            read_header(contents, where, claimed)
        total += claimed
    check_fits(total, f"{path} in memory", "Save its arrays as .npy files, whose images stay on the disk.")


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if member.filename.endswith(".npy")]
