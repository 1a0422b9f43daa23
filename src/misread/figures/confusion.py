"""The confusion matrix."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, PowerNorm

from misread.figures.style import BLACK, GREY, Picture
from misread.figures.ticks import percent

READABLE = 128  # classes; with more, cells have no numbers and only some names are written
MISTAKES = LinearSegmentedColormap.from_list("mistakes", ["#ffffff", "#fde0c0", "#f6a04d", "#c85a0a", "#6b2500"])
RIGHT = "#dbe9f4"  # the diagonal, plain: its large counts would take the whole range of shades


def confusion_figure(counts: np.ndarray, class_names: tuple[str, ...], title: str = "") -> Picture:
    """The number of images of each true class (rows) that were read as each class (columns).

    counts: (K, K) int64. The shade of a mistake is its share of the true class's images, so that mistakes in a rare
    class are as visible as in a frequent one. The diagonal is plain; cells with 0 are empty.
    """
    k = len(counts)
    numbered = k <= READABLE
    digits = max(len(f"{counts.max():,}"), 1) if counts.size else 1
    font = float(np.clip(110 / k, 5.0, 10.0))
    cell = max(0.62 * font * digits / 72 + 0.07, 1.9 * font / 72) if numbered else 2400 / k / 110
    longest = max(map(len, class_names))
    label_inches = 0.58 * font * longest / 72 if numbered else 0.6
    side = max(k * cell, 2.6)
    left, bottom, right = 0.55 + label_inches, 0.15, 1.15
    upright = not numbered or label_inches > cell
    above = 0.42 + (label_inches if upright else 0.2) + (0.4 if title else 0.1)
    width, height = left + side + right, bottom + side + above
    picture = Picture(width, height)
    axes = picture.add_axes((left / width, bottom / height, side / width, side / height))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = np.where(np.eye(k, dtype=bool), 0.0, shares)
    # a power below 1, so that one frequent mistake does not make all others white
    norm = PowerNorm(0.6, vmin=0, vmax=max(float(mistakes.max(initial=0)), 1e-9))
    shaded = MISTAKES(norm(mistakes))
    shaded[np.eye(k, dtype=bool)] = [*(int(RIGHT[i : i + 2], 16) / 255 for i in (1, 3, 5)), 1]
    axes.imshow(shaded, interpolation="nearest", extent=(0, k, k, 0))
    if numbered:
        dark = np.asarray(norm(mistakes)) > 0.65
        for i, j in zip(*np.nonzero(counts), strict=True):
            axes.text(j + 0.5, i + 0.5, f"{counts[i, j]:,}", ha="center", va="center", fontsize=font,
                      color="white" if dark[i, j] else BLACK)  # fmt: skip
        axes.set_xticks(np.arange(k + 1), minor=True)
        axes.set_yticks(np.arange(k + 1), minor=True)
        axes.grid(True, which="minor", color="#e4e4e4", lw=0.5)
    shown = np.arange(0, k, 1 if numbered else -(-k // 40))
    axes.set_xticks(shown + 0.5, [class_names[i] for i in shown], rotation=90 if upright else 0)
    axes.set_yticks(shown + 0.5, [class_names[i] for i in shown])
    for tick in (*axes.xaxis.get_major_ticks(), *axes.yaxis.get_major_ticks()):
        for text in (tick.label1, tick.label2):  # below and above, left and right; the names are shown above
            text.set_parse_math(False)
    axes.tick_params(which="both", length=0, labelsize=font, labelcolor=BLACK)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("Predicted class", labelpad=8, fontsize=11)
    axes.set_ylabel("True class", labelpad=8, fontsize=11)
    axes.spines[:].set_color(GREY)
    _add_scale(picture, norm, (left + side + 0.18) / width, bottom / height, min(side, 3.2) / height, 0.16 / width)
    if title:
        picture.text(left / width, 1 - 0.12 / height, title, ha="left", va="top", fontsize=12, color=BLACK,
                     parse_math=False)  # fmt: skip
    return picture


def _add_scale(picture: Picture, norm: PowerNorm, x: float, y: float, height: float, width: float) -> None:
    bar = picture.colorbar(ScalarMappable(norm, MISTAKES), cax=picture.add_axes((x, y, width, height)))
    bar.ax.yaxis.set_major_formatter(percent)
    bar.ax.tick_params(labelsize=8)
    bar.set_label("mistakes: share of the true class", fontsize=8.5)
    bar.outline.set_visible(False)
