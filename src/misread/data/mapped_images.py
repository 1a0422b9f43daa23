"""Images that stay where they are, in a memory-mapped file or a large array: a data set may be larger than memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np


class MappedImages:
    """(N, H, W, C) uint8 images in a memory-mapped file or an array, or some rows of them, in an order of their own.

    Indexed along the first axis, as an array is: by a number, a slice, or an array of positions or of bools. What is
    asked for, and nothing else, is read into a new array. `np.asarray` reads everything.
    """

    def __init__(self, file: np.ndarray, rows: np.ndarray | None = None) -> None:
        """file: the whole array, mapped or not. rows: which of its images these are, (N,) int64; without it all."""
        self.file = file
        self.rows = rows

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
            raise ValueError("Images in a file cannot be an array without being read.")
        return self[:] if dtype is None else self[:].astype(dtype)

    def take(self, positions: np.ndarray) -> "MappedImages":
        """The images at these positions, in this order; nothing is read."""
        return MappedImages(self.file, positions if self.rows is None else self.rows[positions])


Images = np.ndarray | MappedImages  # of a split: in memory, or in a file
