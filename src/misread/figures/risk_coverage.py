"""The risk-coverage curve: error against the share of images left to a person."""

import pandas as pd

from misread.figures.style import BLACK, BLUE, Picture, plain_axes
from misread.figures.ticks import percent

SHOWN = 0.3  # the share of images on the axis; leaving more of them to a person is no longer a classifier's job


def risk_coverage_figure(curve: pd.DataFrame, table: pd.DataFrame, title: str = "") -> Picture:
    """The error of the remaining images against the share of images left to a person, with its 95% band.

    curve: lines with the columns coverage, error, error_low and error_high, by falling confidence.
    table: the lines of it that are marked with their error.
    """
    picture = Picture(6.8, 4.4, layout="constrained")
    if title:
        picture.suptitle(title, fontsize=12, parse_math=False)
    axes = picture.add_subplot()
    left = 1 - curve["coverage"]
    axes.fill_between(left, curve["error_low"], curve["error_high"], color=BLUE, alpha=0.18, lw=0, label="95% interval")
    axes.plot(left, curve["error"], color=BLUE, lw=1.6, label="error among the rest")
    axes.plot(1 - table["coverage"], table["error"], "o", color=BLACK, ms=4)
    for x, error in zip(1 - table["coverage"], table["error"], strict=True):
        axes.annotate(f"{error:.2%}", (x, error), (6, 5), textcoords="offset points", fontsize=8.5, color=BLACK)
    axes.set_xlabel("Least certain images, left to a person")
    axes.set_ylabel("Error")
    axes.set_xlim(-0.003, SHOWN)
    axes.set_ylim(0, 1.15 * float(curve["error_high"].iloc[-1]) if len(curve) else 1)
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    plain_axes(axes)
    axes.legend(frameon=False)
    return picture
