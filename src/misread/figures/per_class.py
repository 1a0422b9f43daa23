"""Each class's errors, as bars with their intervals."""

import numpy as np
import pandas as pd

from misread.figures.style import BLACK, BLUE, GREY, ORANGE, Picture, plain_axes
from misread.figures.ticks import percent


def per_class_figure(table: pd.DataFrame, title: str = "") -> Picture:
    """Two panels of bars with 95% Wilson intervals, the class most misread on top.

    Left: 1 - recall, the share of a class's images that were misread. Right: 1 - precision, the share of the images
    read as a class that were not. Bars show errors, not accuracies, so that they begin at 0 and still differ.
    table: one line a class. Columns: class, support, recall, recall_low, recall_high, predicted, precision,
           precision_low, precision_high.
    """
    table = table.assign(misread=1 - table["recall"]).sort_values("misread", kind="stable", na_position="first")
    k = len(table)
    row = 0.27 if k <= 40 else 0.19
    font = 9.5 if k <= 40 else 7.5
    label_inches = 0.3 + 0.6 * font * max(map(len, table["class"])) / 72
    head, foot = (0.72 if title else 0.4), 0.65
    width, height = label_inches + 7.4, k * row + head + foot
    picture = Picture(width, height)
    panel_w = (width - label_inches - 0.65) / 2
    bottom, tall = foot / height, k * row / height
    # one scale for both panels; classes without images do not stretch it
    reach = max(
        1 - table[f"{share}_low"][table[of] > 0].min()
        for share, of in (("recall", "support"), ("precision", "predicted"))
    )
    panels = (
        ("recall", "support", BLUE, "Misread of those with this label (1 − recall)"),
        ("precision", "predicted", ORANGE, "Wrong of those read as it (1 − precision)"),
    )
    for i, (share, of, colour, name) in enumerate(panels):
        x = (label_inches + i * (panel_w + 0.35)) / width
        axes = picture.add_axes((x, bottom, panel_w / width, tall))
        error = 1 - table[share]
        low, high = 1 - table[f"{share}_high"], 1 - table[f"{share}_low"]
        there = (table[of] > 0).to_numpy()
        y = np.arange(k)
        axes.barh(y[there], error[there], height=0.72, color=colour, alpha=0.7)
        axes.hlines(y[there], low[there], high[there], color=BLACK, lw=1.1)
        for place in y[~there]:
            axes.text(0, place, " no images" if of == "support" else " never predicted", va="center", color=GREY,
                      fontsize=font - 1)  # fmt: skip
        axes.set_xlim(0, 1.04 * reach)
        axes.set_ylim(-0.6, k - 0.4)
        axes.xaxis.set_major_formatter(percent)
        axes.set_xlabel(name, fontsize=9.5)
        axes.set_yticks(y, table["class"] if i == 0 else [""] * k)
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.tick_params(axis="y", length=0, labelsize=font)
        axes.tick_params(axis="x", labelsize=9)
        plain_axes(axes)
        axes.grid(False, axis="y")
    if title:
        picture.text(0.15 / width, 1 - 0.12 / height, title, ha="left", va="top", fontsize=12, color=BLACK,
                     parse_math=False)  # fmt: skip
    picture.text(
        label_inches / width, 1 - (head - 0.08) / height, "lines: 95% intervals", ha="left", va="bottom", fontsize=9,
        color=GREY,
    )  # fmt: skip
    return picture
