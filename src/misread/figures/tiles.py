"""Images side by side, each with a title above it."""

import math
import textwrap
from collections.abc import Sequence

import numpy as np

from misread.figures.style import BLACK, DPI, Picture

TILE_INCHES = 1.55  # an image's side; "Label: 4, Prediction: 9" fits above it at FONT points
FONT = 8.5
CHARACTERS = 24  # of a title's line that fit above a tile
MAX_PIXELS = 30_000  # a side of the picture; beyond it image viewers give up


def tiles_figure(images: np.ndarray, titles: Sequence[str], title: str, columns: int | None = None) -> Picture:
    """Every image in its order, left to right and top to bottom, with its title above it.

    images:  (M, H, W, C) uint8.
    titles:  M of them, of one line or several, none longer than CHARACTERS (see `title_lines`).
    title:   of the whole picture.
    columns: tiles a row; without it the grid is as near square as can be, and no wider than 16.
    """
    columns = columns or max(1, min(16, math.ceil(math.sqrt(len(images)))))
    rows = max(1, math.ceil(len(images) / columns))
    lines = max((t.count("\n") + 1 for t in titles), default=1)
    head_inches = 0.09 + lines * FONT * 1.25 / 72
    gap = 0.12
    cell_w, cell_h = TILE_INCHES + gap, TILE_INCHES + head_inches + gap
    heading = textwrap.wrap(title, max(24, int(max(columns, 2) * cell_w * 72 / 6.6)))
    top = 0.18 + 0.22 * len(heading)
    width, height = max(columns, 2) * cell_w + gap, rows * cell_h + top + gap
    picture = Picture(width, height)
    if max(width, height) * DPI > MAX_PIXELS:
        picture.set_dpi(MAX_PIXELS / max(width, height))
    picture.text(0.5, 1 - 0.1 / height, "\n".join(heading), ha="center", va="top", fontsize=12, color=BLACK)
    # one pair of axes for all tiles: a pair each would take minutes for a thousand
    axes = picture.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.axis("off")
    left = (width - columns * cell_w + gap) / 2
    for i, (text, image) in enumerate(zip(titles, images, strict=True)):
        x = left + (i % columns) * cell_w
        y = top + (i // columns) * cell_h + head_inches
        h, w = image.shape[:2]
        tile_w, tile_h = TILE_INCHES * min(1, w / h), TILE_INCHES * min(1, h / w)
        x0 = x + (TILE_INCHES - tile_w) / 2
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation="nearest",
            extent=(x0, x0 + tile_w, y + tile_h, y), aspect="auto",
        )  # fmt: skip
        axes.text(x + TILE_INCHES / 2, y - 0.04, text, ha="center", va="bottom", fontsize=FONT, color=BLACK,
                  parse_math=False)  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return picture


def title_lines(text: str) -> list[str]:
    """A text in lines that fit above a tile."""
    return textwrap.wrap(text, CHARACTERS) or [text]
