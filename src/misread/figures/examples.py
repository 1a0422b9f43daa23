"""Images of a data set with their labels, and augmented versions of them."""

from collections.abc import Sequence

import numpy as np

from misread.figures.gallery import gallery_figure, wrapped
from misread.figures.style import Picture


def examples_figure(images: np.ndarray, labels: Sequence[str], title: str) -> Picture:
    """Images (M, H, W, C) uint8 in their order, each under its label."""
    return gallery_figure([wrapped(label) for label in labels], images, title, empty="No images.")


def augmented_figure(images: np.ndarray, varied: np.ndarray, labels: Sequence[str], title: str) -> Picture:
    """A row for each image: the image as it is, then its augmented versions.

    images: (M, H, W, C) uint8.
    varied: (M, V, H, W, C) uint8, V versions of each.
    labels: M names; each version has the title too, since it has to be readable as that class.
    """
    rows = np.concatenate([images[:, None], varied], axis=1)
    titles = []
    for name in map(wrapped, labels):
        titles += [f"{name}\nas it is", *[name] * varied.shape[1]]
    shown = rows.reshape(-1, *images.shape[1:])
    return gallery_figure(titles, shown, title, empty="No images.", columns=rows.shape[1])
