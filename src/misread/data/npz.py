"""NumPy `.npz` files with Keras's keys: x_train, y_train, x_test, y_test, and optionally x_val, y_val."""

import zipfile
from pathlib import Path

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.errors import DataError


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
    """All arrays in an `.npz` by their keys. Raises DataError: damaged, not an `.npz`, or Python objects inside."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                arrays[key] = archive[key]
    except (zipfile.BadZipFile, EOFError, OSError, TypeError) as error:  # TypeError: the file is an .npy
        raise DataError(f"{path} is damaged or not an .npz file: {error}. Save it again.") from None
    except ValueError as error:
        raise DataError(
            f"{path}: an array cannot be read safely ({error}).\n"
            "misread never unpickles. Save numeric arrays with numpy.savez."
        ) from None
    return arrays
