"""A gallery of images, each with a title above it."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from misread.figures.style import BLACK, GREY, Picture
from misread.figures.tiles import blank_page, draw_tile

TILE_INCHES = 1.55  # an image's side; "Label: 4, Prediction: 9" fits above it at FONT points
GAP_INCHES = 0.12
FONT = 8.5
LINE = 24  # characters that fit above a tile


@dataclass(frozen=True)
class Section:
    """Images of a gallery that belong together.

    titles: M texts, each line of `LINE` characters at most: see `wrapped`.
    images: (M, H, W, C) uint8.
    empty:  the text that is shown if there are no images.
    """

    titles: Sequence[str]
    images: np.ndarray
    heading: str = ""
    empty: str = "None."


def gallery_figure(
    titles: Sequence[str], images: np.ndarray, title: str, *, empty: str, columns: int | None = None
) -> Picture:
    """Every image, in order, each below its title; titles, images and empty as in `Section`.

    title:   of the whole picture.
    columns: tiles a row; by default the grid is nearly square and at most 16 wide.
    """
    return sections_figure([Section(titles, images, empty=empty)], title, columns)


def sections_figure(sections: Sequence[Section], title: str, columns: int | None = None) -> Picture:
    """Several galleries below each other, each under its heading; by default the largest is nearly square."""
    largest = max(len(section.titles) for section in sections)
    columns = columns or max(1, min(16, math.ceil(math.sqrt(largest))))
    lines = max((t.count("\n") + 1 for section in sections for t in section.titles), default=1)
    head_inches = 0.09 + lines * FONT * 1.25 / 72
    cell_w, cell_h = TILE_INCHES + GAP_INCHES, TILE_INCHES + head_inches + GAP_INCHES
    width = max(columns, 2) * cell_w + GAP_INCHES
    letters = max(24, int((width - GAP_INCHES) * 72 / 6.6))
    title_lines = textwrap.wrap(title, letters)
    headings = [textwrap.wrap(section.heading, letters) for section in sections]
    rows = [max(1, math.ceil(len(section.titles) / columns)) for section in sections]
    top = 0.18 + 0.22 * len(title_lines)
    height = top + sum(_heading_inches(h) + r * cell_h for h, r in zip(headings, rows, strict=True)) + GAP_INCHES
    picture, axes = blank_page(width, height)
    picture.text(0.5, 1 - 0.1 / height, "\n".join(title_lines), ha="center", va="top", fontsize=12, color=BLACK,
                 parse_math=False)  # fmt: skip
    left = (width - columns * cell_w + GAP_INCHES) / 2
    for section, heading, section_rows in zip(sections, headings, rows, strict=True):
        if heading:
            axes.text(width / 2, top + 0.1, "\n".join(heading), ha="center", va="top", fontsize=11, color=BLACK,
                      parse_math=False)  # fmt: skip
        top += _heading_inches(heading)
        if not len(section.titles):
            axes.text(width / 2, top + cell_h / 2, section.empty, ha="center", va="center", color=GREY)
        for i, (text, image) in enumerate(zip(section.titles, section.images, strict=True)):
            x = left + (i % columns) * cell_w
            y = top + (i // columns) * cell_h + head_inches
            draw_tile(axes, image, x, y, TILE_INCHES)
            axes.text(x + TILE_INCHES / 2, y - 0.04, text, ha="center", va="bottom", fontsize=FONT, color=BLACK,
                      parse_math=False)  # fmt: skip
        top += section_rows * cell_h
    return picture


def wrapped(text: str) -> str:
    """The text in lines that fit above a tile."""
    return "\n".join(textwrap.wrap(text, LINE) or [text])


def _heading_inches(heading: Sequence[str]) -> float:
    return 0.2 + 0.2 * len(heading) if heading else 0.0
