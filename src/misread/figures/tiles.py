"""Many images in one pair of axes: a pair of axes for each would take minutes for a thousand images."""

from typing import Any

import numpy as np

from misread.figures.style import Picture


def blank_page(width: float, height: float) -> tuple[Picture, Any]:
    """A white picture, and axes over all of it with inches from the upper left corner. width, height: inches."""
    picture = Picture(width, height)
    axes = picture.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    axes.autoscale(False)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return picture, axes


def draw_tile(axes: Any, image: np.ndarray, x: float, y: float, side: float) -> None:
    """An image (H, W, C) uint8, centred and as large as possible in the square at (x, y), without smoothing."""
    height, width = image.shape[:2]
    tile_w, tile_h = side * min(1, width / height), side * min(1, height / width)
    left = x + (side - tile_w) / 2
    axes.imshow(
        image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest",
        extent=(left, left + tile_w, y + tile_h, y), aspect="auto",
    )  # fmt: skip
