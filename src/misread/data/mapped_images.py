"""Images that stay in a memory-mapped file or a large array, so that a data set may be larger than memory."""

from collections.abc import Iterator
from mmap import ALLOCATIONGRANULARITY, mmap
from typing import Any

import numpy as np


class MappedImages:
    """(N, H, W, C) uint8 images: rows of a memory-mapped file or an array, in any order.

    They are indexed along the first axis like an array: by a number, a slice, or an array of positions or booleans.
    Only the indexed images are read, into a new array. `np.asarray` reads all of them.
    """

    def __init__(self, file: np.ndarray, rows: np.ndarray | None = None) -> None:
        """file: the complete array, mapped or not. rows: (N,) int64, the rows of these images in it; None for all."""
        self.file = file
        self.rows = rows

    def __getstate__(self) -> dict[str, Any]:
        """For another process: where a mapped file is, instead of its contents."""
        file = self.file
        if isinstance(file, np.memmap) and file.filename is not None and (offset := _offset(file)) is not None:
            return {"rows": self.rows, "path": file.filename, "offset": offset, "shape": file.shape,
                    "dtype": file.dtype}  # fmt: skip
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.rows = state["rows"]
        if "file" in state:
            self.file = state["file"]
        else:
            self.file = np.memmap(state["path"], state["dtype"], "r", state["offset"], state["shape"])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.file.shape[1:])

    @property
    def ndim(self) -> int:
        return self.file.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.file.dtype

    @property
    def nbytes(self) -> int:
        return len(self) * int(np.prod(self.file.shape[1:])) * self.file.itemsize

    def __len__(self) -> int:
        return len(self.file if self.rows is None else self.rows)

    def __repr__(self) -> str:
        return f"MappedImages({' x '.join(map(str, self.shape))}, {self.dtype}, in a file)"

    def __getitem__(self, positions: int | slice | np.ndarray) -> np.ndarray:
        read: np.ndarray = self.file[positions if self.rows is None else self.rows[positions]]
        return read.copy() if np.may_share_memory(read, self.file) else read

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Images in a file cannot become an array without a copy.")
        return self[:] if dtype is None else self[:].astype(dtype)

    def take(self, positions: np.ndarray) -> "MappedImages":
        """The images at these positions, in this order, without reading them."""
        return MappedImages(self.file, positions if self.rows is None else self.rows[positions])


def _offset(file: np.memmap) -> int | None:
    """Where a map, or a part of one, begins in its file; None if its bytes do not follow one another there."""
    base: Any = file
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap) or not file.flags.c_contiguous:
        return None
    mapped_from = file.offset - file.offset % ALLOCATIONGRANULARITY  # a part of a map has the offset of the whole
    return mapped_from + file.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data


Images = np.ndarray | MappedImages  # images in memory or in a file
