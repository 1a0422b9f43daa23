"""The course of a sweep."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from misread.figures.style import BLUE, GREY, ORANGE, Picture, plain_axes
from misread.figures.ticks import percent

PANEL_COLUMNS = 3


def search_figure(
    scores: Sequence[float],
    values: Mapping[str, Sequence[bool | int | float | str]],
    logarithmic: Mapping[str, bool],
    title: str = "",
) -> Picture:
    """The validation accuracy of each trial and the best so far; below, each setting against the accuracy.

    scores: (T,), of the complete trials in their order. values: (T,) of each setting.
    logarithmic: whether the axis of a setting is. The best trial is marked.
    """
    rows = -(-len(values) // PANEL_COLUMNS)
    picture = Picture(10.5, 3.6 + 2.9 * rows, layout="constrained")
    grid = picture.add_gridspec(1 + rows, PANEL_COLUMNS)
    if title:
        picture.suptitle(title, fontsize=12, parse_math=False)
    axes, trials = picture.add_subplot(grid[0, :]), np.arange(1, len(scores) + 1)
    axes.plot(trials, scores, "o", color=BLUE, ms=5, label="a trial")
    axes.step(trials, np.maximum.accumulate(scores), where="post", color=ORANGE, label="the best so far")
    axes.set_xlabel("Complete trials")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=False, loc="lower right")
    _finish(axes)
    best = int(np.argmax(scores))
    for number, (name, tried) in enumerate(values.items()):
        panel = picture.add_subplot(grid[1 + number // PANEL_COLUMNS, number % PANEL_COLUMNS])
        _draw_setting(panel, name, tried, scores, best, logarithmic.get(name, False))
    return picture


def _draw_setting(
    axes: Axes,
    name: str,
    tried: Sequence[bool | int | float | str],
    scores: Sequence[float],
    best: int,
    logarithmic: bool,
) -> None:
    numbers = [float(v) for v in tried if isinstance(v, int | float) and not isinstance(v, bool)]
    plain = len(numbers) == len(tried)
    names = sorted({str(value) for value in tried})
    places = numbers if plain else [float(names.index(str(value))) for value in tried]
    axes.plot(places, scores, "o", color=BLUE, ms=5, alpha=0.7)
    axes.plot(places[best], scores[best], "o", ms=11, mfc="none", mec=ORANGE, mew=2)
    if not plain:
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif logarithmic:
        axes.set_xscale("log")
    elif all(isinstance(value, int) for value in tried):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel(name, parse_math=False, color=GREY)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.set_ylabel("Validation accuracy")
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    plain_axes(axes)
