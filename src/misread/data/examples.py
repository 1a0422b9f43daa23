"""Choosing a few images to show as examples of a set."""

import numpy as np


def pick_examples(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` images, or of all if there are fewer: one of each class, then a second of each, and so on.

    labels: (N,) int64. seed: decides which images are drawn.
    Returns int64 positions; within each round the classes are in order.
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    drawn = drawn[np.argsort(labels[drawn], kind="stable")]
    classes, starts = np.unique(labels[drawn], return_index=True)
    round_of = np.arange(len(drawn)) - starts[np.searchsorted(classes, labels[drawn])]
    return drawn[np.lexsort((labels[drawn], round_of))][:count]
