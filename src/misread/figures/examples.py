"""Images of a set with their labels, and what augmentation makes of them."""

from collections.abc import Sequence

import numpy as np

from misread.figures.style import Picture
from misread.figures.tiles import tiles_figure, title_lines


def examples_figure(images: np.ndarray, labels: Sequence[str], title: str) -> Picture:
    """Images (M, H, W, C) uint8 in their order, each under its label."""
    return tiles_figure(images, _titles(labels), title)


def augmented_figure(images: np.ndarray, varied: np.ndarray, labels: Sequence[str], title: str) -> Picture:
    """A row for each image: the image as it is, then what augmentation made of it.

    images: (M, H, W, C) uint8.
    varied: (M, V, H, W, C) uint8, V versions of each.
    labels: M names; each version is titled with it too, since it has to be readable as that.
    """
    rows = np.concatenate([images[:, None], varied], axis=1)
    titles = []
    for name in _titles(labels):
        titles += [f"{name}\nas it is", *[name] * varied.shape[1]]
    return tiles_figure(rows.reshape(-1, *images.shape[1:]), titles, title, columns=rows.shape[1])


def _titles(labels: Sequence[str]) -> list[str]:
    return ["\n".join(title_lines(label)) for label in labels]
