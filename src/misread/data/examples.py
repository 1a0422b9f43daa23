"""Which images stand for a set when only a few can be shown."""

import numpy as np


def pick_examples(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of `count` images, or of all where there are fewer: one of each class, then a second of each, ...

    labels: (N,) int64. The seed draws which. Returns int64 positions, the classes in order within each turn.
    """
    drawn = np.random.default_rng(seed).permutation(len(labels))
    drawn = drawn[np.argsort(labels[drawn], kind="stable")]
    classes, starts = np.unique(labels[drawn], return_index=True)
    turn = np.arange(len(drawn)) - starts[np.searchsorted(classes, labels[drawn])]
    return drawn[np.lexsort((labels[drawn], turn))][:count]
