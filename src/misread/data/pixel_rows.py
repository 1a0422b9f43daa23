"""Rows of numbers, as scikit-learn holds them, as images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.errors import ArrayError

Shape = tuple[int, int, int]

SIDE = 8  # pixels; rows that would be smaller squares are taken as features
BLOCK = 1000  # rows scaled at once, in float64


@dataclass(frozen=True, eq=False)
class PixelRows:
    """How rows of D numbers become images.

    image_shape: (H, W, C), with H * W * C = D. low, high: float64, the values that become 0 and 255; one for all
                 pixels, or (D,) for features that are no pixels.
    """

    image_shape: Shape
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def learn(cls, rows: np.ndarray, image_shape: Sequence[int] | None = None) -> "PixelRows":
        """From training rows (N, D) of numbers.

        image_shape: (H, W) or (H, W, C). Without it, rows that look like square images are images; see `likely_shape`.
                     Other rows are D features: images of one row of pixels, (1, D, 1).
        uint8 stays as it is. Of other images, the smallest value of all pixels becomes 0 and the largest 255; of
        features, those of each feature.
        Raises ArrayError: the shape does not fit the rows.
        """
        count = rows.shape[1]
        shape = _full_shape(image_shape, count) if image_shape is not None else likely_shape(rows)
        shape = shape or (1, count, 1)
        axis = 0 if shape[0] == 1 else None
        if rows.dtype == np.uint8:
            return cls(shape, np.array(0.0), np.array(255.0))
        return cls(shape, rows.min(axis=axis).astype(np.float64), rows.max(axis=axis).astype(np.float64))

    def images(self, rows: np.ndarray) -> np.ndarray:
        """rows (N, D) to images (N, H, W, C) uint8. Values outside of `low` to `high` are clipped, others rounded."""
        if rows.dtype == np.uint8 and np.all(self.low == 0) and np.all(self.high == 255):
            return rows.reshape(-1, *self.image_shape)
        span = self.high - self.low
        scale = 255 / np.where(span > 0, span, np.inf)
        pixels = np.empty(rows.shape, np.uint8)
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK].astype(np.float64)
            pixels[start : start + BLOCK] = np.rint((block - self.low) * scale).clip(0, 255)
        return pixels.reshape(-1, *self.image_shape)


def likely_shape(rows: np.ndarray) -> Shape | None:
    """(S, S, 1) or (S, S, 3) if rows (N, D) look like square images, else None.

    They do if D is S * S or 3 * S * S with a side S of `SIDE` or more, and all values are from 0 to 1, or whole numbers
    from 0 to 255.
    """
    count = rows.shape[1]
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if side >= SIDE and side * side * channels == count and _are_pixels(rows):
            return side, side, channels
    return None


def images_in(array: Any, image_shape: Sequence[int] | None = None) -> np.ndarray | None:
    """The images (N, H, W, C) uint8 in an array or a table of numbers; None if it holds none, or features.

    Those of (N, H, W) or (N, H, W, C) are its own. Rows need an `image_shape`, or to look like square images.
    """
    numbers = np.asarray(array)
    if numbers.dtype.kind not in "iufb" or not len(numbers):
        return None
    if numbers.ndim in (3, 4):
        image_shape, numbers = numbers.shape[1:], numbers.reshape(len(numbers), -1)
    if numbers.ndim != 2:
        return None
    pixels = PixelRows.learn(numbers, image_shape)
    return pixels.images(numbers) if pixels.image_shape[0] > 1 else None


def _are_pixels(rows: np.ndarray) -> bool:
    low, high = rows.min(), rows.max()
    if low < 0 or high > 255:
        return False
    return bool(high <= 1 or rows.dtype.kind in "iu" or (rows == np.rint(rows)).all())


def _full_shape(image_shape: Sequence[int], count: int) -> Shape:
    """(H, W, C) of a shape with or without channels."""
    numbers = [*image_shape, 1] if len(image_shape) == 2 else list(image_shape)
    if len(numbers) != 3 or min(numbers) < 1 or numbers[2] not in (1, 3):
        raise ArrayError(f"image_shape is {tuple(image_shape)}, but must be (H, W), (H, W, 1) or (H, W, 3).")
    height, width, channels = numbers
    if height * width * channels != count:
        raise ArrayError(
            f"image_shape {tuple(image_shape)} has {height * width * channels:,} numbers an image, but X has {count:,} "
            "in each row. Change one of them."
        )
    return height, width, channels
