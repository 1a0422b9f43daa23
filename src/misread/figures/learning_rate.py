"""The course of a learning-rate range test."""

import numpy as np

from misread.figures.style import BLUE, GREEN, GREY, ORANGE, Picture, plain_axes


def learning_rate_figure(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, suggestion: float, current: float, title: str = ""
) -> Picture:
    """The training loss against the learning rate, on a logarithmic axis.

    rates, losses, smoothed: (S,). suggestion, current: rates that are marked.
    """
    picture = Picture(7.6, 4.4, layout="constrained")
    axes = picture.add_subplot()
    if title:
        axes.set_title(title, fontsize=12, parse_math=False)
    axes.plot(rates, losses, color=GREY, alpha=0.45, lw=1, label="training loss of a step")
    axes.plot(rates, smoothed, color=BLUE, lw=2, label="smoothed")
    axes.axvline(suggestion, color=ORANGE, ls="--", label=f"suggestion: {suggestion:.2g}")
    if rates[0] <= current <= rates[-1]:
        axes.axvline(current, color=GREEN, ls=":", label=f"the recipe's: {current:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.15 * max(smoothed.max(), np.quantile(losses, 0.9)))  # single steps may be far above
    axes.set_xlabel("Learning rate")
    axes.set_ylabel("Loss")
    plain_axes(axes)
    axes.legend(frameon=False, loc="lower left")
    return picture
