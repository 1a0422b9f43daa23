"""Arrays of images in files, of which a shard is a range of rows: `.npy` and IDX."""

import mmap
import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from misread.data.idx import parse_idx, read_bytes
from misread.data.idx_folder import find_idx
from misread.data.npy import find_npy, map_images, read_npy
from misread.errors import DataError

_IDX_ENDINGS = ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")


def is_row_file(path: str) -> bool:
    return path.lower().endswith((".npy", *_IDX_ENDINGS))


def open_rows(path: str) -> np.ndarray:
    """(N, H, W, C) uint8 images, memory-mapped unless the file is compressed.

    Raises DataError: damaged, no images, or not local.
    """
    if "://" in path:
        raise DataError(
            f"{path}: arrays are memory-mapped, so they must be local files. Copy it, or use tar or Parquet."
        )
    if not os.path.isfile(path):
        raise DataError(f"{path} does not exist.")
    # a task that follows on the same file need not open it again; another file of that name is another array
    return _open_rows(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=2)
def _open_rows(path: str, changed: int) -> np.ndarray:
    images: np.ndarray = map_images(Path(path)) if path.lower().endswith(".npy") else _idx_images(Path(path))
    images = images[..., None] if images.ndim == 3 else images
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape[1:]:
        raise DataError(f"{path} has the shape {images.shape}; images are (N, H, W), (N, H, W, 1) or (N, H, W, 3).")
    return images


def _idx_images(path: Path) -> np.ndarray:
    if path.name.lower().endswith(".gz") or path.stat().st_size == 0:
        return parse_idx(read_bytes(path), path, (3, 4))
    with path.open("rb") as file:
        return parse_idx(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path, (3, 4))


def labels_beside(path: str) -> np.ndarray | None:
    """(N,) the labels in the file that belongs to this one by its name, as `misread.load` pairs them; None without one.

    Raises DataError: they are damaged, or as many as the images are not.
    """
    images = Path(path)
    found = find_npy(images.parent) if images.suffix.lower() == ".npy" else find_idx(images.parent)
    split = next((split for (split, kind), file in found.items() if kind == "images" and file == images), None)
    labels_file = None if split is None else found.get((split, "labels"))
    if labels_file is None:
        return None
    labels = (
        read_npy(labels_file)
        if images.suffix.lower() == ".npy"
        else parse_idx(read_bytes(labels_file), labels_file, (1,))
    )
    if len(labels) != len(open_rows(path)) or labels.ndim != 1:
        raise DataError(f"{labels_file} has the shape {labels.shape}, but {path} has {len(open_rows(path)):,} images.")
    return labels
