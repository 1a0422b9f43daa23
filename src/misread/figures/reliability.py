"""The reliability diagram."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import NullLocator

from misread.figures.style import BLUE, GREY, ORANGE, Picture, plain_axes
from misread.figures.ticks import percent


def reliability_figure(panels: Sequence[tuple[str, pd.DataFrame]], title: str = "") -> Picture:
    """Accuracy against confidence in bins, above a histogram of the bins; one panel or several.

    panels: for each a heading, and a table of bins with the columns low, high, n, confidence, accuracy, accuracy_low
            and accuracy_high.
    On the diagonal confidence equals accuracy; below it the model is over-confident. Bars: 95% Wilson intervals.
    """
    picture = Picture(0.8 + 4.8 * len(panels), 6.0, layout="constrained")
    if title:
        picture.suptitle(title, fontsize=12, parse_math=False)
    grid = picture.add_gridspec(2, len(panels), height_ratios=(3.4, 1))
    for column, (heading, table) in enumerate(panels):
        there = table[table["n"] > 0]
        diagram, histogram = picture.add_subplot(grid[0, column]), picture.add_subplot(grid[1, column])
        diagram.set_title(heading, fontsize=10.5)
        diagram.plot([0, 1], [0, 1], color=GREY, ls="--", lw=1, label="confidence = accuracy")
        lengths = [there["accuracy"] - there["accuracy_low"], there["accuracy_high"] - there["accuracy"]]
        diagram.errorbar(there["confidence"], there["accuracy"], yerr=lengths, color=(BLUE, ORANGE)[column % 2],
                         marker="o", ms=5, lw=1.2, elinewidth=1, capsize=2, label="accuracy, 95% interval")  # fmt: skip
        diagram.set_ylim(0, 1.02)
        diagram.yaxis.set_major_formatter(percent)
        diagram.tick_params(labelbottom=False)
        diagram.legend(frameon=False, loc="best")
        histogram.bar(there["low"], there["n"], width=there["high"] - there["low"], align="edge",
                      color=(BLUE, ORANGE)[column % 2], edgecolor="white")  # fmt: skip
        histogram.set_yscale("log")
        histogram.set_ylim(0.7, 2 * max(table["n"].max(), 5))
        histogram.yaxis.set_major_formatter(lambda n, _: f"{n:,.0f}")
        histogram.yaxis.set_minor_locator(NullLocator())
        histogram.xaxis.set_major_formatter(percent)
        histogram.set_xlabel("Confidence")
        if column == 0:
            diagram.set_ylabel("Accuracy")
            histogram.set_ylabel("Images")
        for axes in (diagram, histogram):
            axes.set_xlim(0, 1.01)
            plain_axes(axes)
    return picture
