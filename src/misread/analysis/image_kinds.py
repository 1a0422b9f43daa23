"""Kinds of images: is an image ordinary, a blend of two classes, or strange to the training images?

The label of the image has no part in the answer.
"""

from dataclasses import dataclass

import numpy as np

from misread.analysis.evidence import Evidence
from misread.analysis.probabilities import log_probs

BLENDS, STRANGE = 300, 200  # planted images at most, so that the search for their neighbours stays short
LEAST = 50  # ordinary images; fewer cannot show the differences between the kinds


def plant_blends(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, H, W, C) uint8: means of two images of different classes; none if there is only one class."""
    first = rng.permutation(len(labels))[:BLENDS]
    second = rng.permutation(len(labels))[:BLENDS]
    differ = labels[first] != labels[second]
    return ((images[first[differ]].astype(np.uint16) + images[second[differ]]) // 2).astype(np.uint8)


def plant_strange(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n, H, W, C) uint8: images whose pixels, or tiles of 4 x 4 on the image, are in random order, in turn."""
    chosen = images[rng.permutation(len(images))[:STRANGE]]
    return np.stack([_shuffled(image, (1, 4)[i % 2], rng) for i, image in enumerate(chosen)]) if len(chosen) else chosen


def _shuffled(image: np.ndarray, tiles: int, rng: np.random.Generator) -> np.ndarray:
    """The image with its tiles in random order: `tiles` a side, or its pixels if that is 1; a margin stays."""
    height, width, channels = image.shape
    high, wide = (1, 1) if tiles == 1 else (max(height // tiles, 1), max(width // tiles, 1))
    rows, columns = height // high, width // wide
    part = image[: rows * high, : columns * wide].reshape(rows, high, columns, wide, channels).swapaxes(1, 2)
    shuffled = rng.permutation(part.reshape(rows * columns, high, wide, channels))
    result = image.copy()
    result[: rows * high, : columns * wide] = (
        shuffled.reshape(rows, columns, high, wide, channels)
        .swapaxes(1, 2)
        .reshape(rows * high, columns * wide, channels)
    )
    return result


@dataclass(frozen=True)
class ImageKinds:
    """How likely the evidence is for each kind of image, from ordinary images and planted ones.

    middle, high: (2,) the median and the 95th percentile of ordinary images' distances to the nearest training image,
                  by features and by thumbnails.
    weights:      (3, features + 1), of a logistic regression on `_features` for ordinary, blend, strange.
    """

    middle: np.ndarray
    high: np.ndarray
    weights: np.ndarray

    def ratios(self, images: Evidence) -> np.ndarray:
        """(Q, 2) how many times as likely the evidence is for a blend, and for a strange image, as for an ordinary."""
        scores = _features(images, self.middle, self.high) @ self.weights.T
        return np.exp(np.clip(scores[:, 1:] - scores[:, :1], -50, 50))


def measure_kinds(ordinary: Evidence, counted: np.ndarray, blends: Evidence, strange: Evidence) -> ImageKinds | None:
    """Tell kinds of images apart by planted examples; None if there are too few images of any kind.

    ordinary: held-out images. counted: (n,) in [0, 1], how much each of them counts.
    """
    if len(ordinary.labels) < LEAST or not len(blends.labels) or not len(strange.labels):
        return None
    assert ordinary.nearest is not None
    middle, high = np.quantile(ordinary.nearest.distances, [0.5, 0.95], axis=0)
    high = np.maximum(high, middle * 1.001 + 1e-6)
    features = np.concatenate([_features(images, middle, high) for images in (ordinary, blends, strange)])
    kinds = np.repeat([0, 1, 2], [len(images.labels) for images in (ordinary, blends, strange)])
    counted = np.append(counted, np.ones(len(kinds) - len(counted)))
    weights = _logistic_regression(features, kinds, counted)
    weights[:, -1] -= np.log(np.bincount(kinds, counted))  # from probabilities among these images to likelihoods
    return ImageKinds(middle, high, weights)


def _features(images: Evidence, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(Q, 10): certainty, contrast of the second class with the rest, distances, votes of the two first classes, 1."""
    order = np.argsort(-images.probs, axis=1, kind="stable")
    probs = np.take_along_axis(images.probs, order, axis=1).astype(np.float64)

    def log_sum(columns: slice) -> np.ndarray:
        return log_probs(probs[:, columns].sum(axis=1))

    certainty = np.clip(log_sum(slice(0, 1)) - log_sum(slice(1, None)), -3, 12) / 4
    contrast = np.clip(log_sum(slice(1, 2)) - log_sum(slice(2, None)), -3, 8) / 4
    assert images.nearest is not None
    far = np.clip((images.nearest.distances - middle) / (high - middle), -3, 4)
    votes = [(images.nearest.classes == order[:, [place]]).mean(axis=1) for place in (0, 1)]
    return np.stack([certainty, certainty**2, contrast, *far.T, *(far**2 / 3).T, *votes, np.ones(len(probs))], axis=1)


def _logistic_regression(features: np.ndarray, kinds: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(kinds, features), the weights of a multinomial logistic regression with a ridge on all but the last feature.

    The last feature is 1.
    """
    from sklearn.linear_model import LogisticRegression  # it takes a while to import

    found = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000).fit(features[:, :-1], kinds, sample_weight=counted)
    return np.column_stack([found.coef_, found.intercept_])
