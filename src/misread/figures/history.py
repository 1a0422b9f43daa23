"""The curves of a training."""

import pandas as pd
from matplotlib.ticker import MaxNLocator

from misread.figures.style import BLUE, GREY, ORANGE, Picture


def history_figure(history: pd.DataFrame, title: str = "", validation: str = "validation") -> Picture:
    """Loss and accuracy against epochs, in a panel each.

    history: columns epoch, loss, val_loss, accuracy, val_accuracy.
    validation: the images that the val curves were measured on, for the legend.
    """
    picture = Picture(9.6, 4.2, layout="constrained")
    if title:
        picture.suptitle(title, fontsize=12, parse_math=False)
    for panel, (metric, name) in enumerate((("loss", "Loss"), ("accuracy", "Accuracy"))):
        axes = picture.add_subplot(1, 2, panel + 1)
        marker = "o" if len(history) <= 30 else ""
        axes.plot(history["epoch"], history[metric], color=BLUE, marker=marker, ms=4, label=f"{metric} (train)")
        axes.plot(
            history["epoch"], history[f"val_{metric}"], color=ORANGE, marker=marker, ms=4, ls="--",
            label=f"val_{metric} ({validation})",
        )  # fmt: skip
        axes.set_xlabel("Epoch")
        axes.set_ylabel(name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(True, color=GREY, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        if history.empty:
            axes.text(0.5, 0.5, "no whole epoch", transform=axes.transAxes, ha="center", color=GREY)
    return picture
