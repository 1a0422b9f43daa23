"""`digits`: scikit-learn's 1,797 handwritten digits, converted from 8x8 to 28x28 the way MNIST was made."""

from functools import cache

import numpy as np

from misread.data.geometry import place
from misread.data.image_set import ImageSet, build_image_set
from misread.data.splits import carve

BOX, SIDE = 20, 28
TEST_FRACTION = 0.2


def load_digits() -> ImageSet:
    """The embedded set: 28x28 grey, ten classes, a fixed train/test split. It needs no network connection.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI, through scikit-learn.
    """
    images, labels = _images_and_labels()
    train, test = carve(labels, TEST_FRACTION, seed=0)
    parts = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}  # copies
    return build_image_set("digits", parts, location="scikit-learn load_digits, converted to 28x28")


@cache
def _images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797. Their conversion takes a third of a second, so a process does it once."""
    from sklearn.datasets import load_digits as bunch

    small = bunch()
    ink = np.rint(small.images * (255 / 16)).astype(np.uint8)[..., None]
    images = np.stack([place(image, (SIDE, SIDE), BOX, "mass") for image in ink])
    return images, small.target.astype(np.int64)
