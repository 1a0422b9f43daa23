"""The evidence about images that were misread, or that causes are measured on."""

from dataclasses import dataclass

import numpy as np

from misread.analysis.neighbours import Neighbours
from misread.analysis.probabilities import geometric_mean
from misread.analysis.thumbnails import NEAR_DUPLICATE

NEIGHBOURS = 5  # the nearest training images that count: so many by features, and so many by pixels


@dataclass(frozen=True)
class Nearest:
    """The nearest training images of Q images, found in two ways.

    training_labels: (N,) int64, the labels of all training images.
    """

    by_features: Neighbours
    by_thumbnails: Neighbours
    training_labels: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """(Q, 2) float32, the distance to the nearest training image by features and by thumbnails."""
        return np.stack([self.by_features.distances[:, 0], self.by_thumbnails.distances[:, 0]], axis=1)

    @property
    def classes(self) -> np.ndarray:
        """(Q, k) int64, the labels of the nearest by features."""
        return self.training_labels[self.by_features.positions]

    @property
    def look_alike(self) -> np.ndarray:
        """(Q, k) int64, the labels of the nearest by thumbnails."""
        return self.training_labels[self.by_thumbnails.positions]

    @property
    def correlations(self) -> np.ndarray:
        """(Q, k) float32, the correlation of the thumbnail with those of the nearest by thumbnails."""
        return 1 - self.by_thumbnails.distances**2 / 2

    def __getitem__(self, images: slice) -> "Nearest":
        return Nearest(self.by_features[images], self.by_thumbnails[images], self.training_labels)


@dataclass(frozen=True)
class Evidence:
    """The evidence about Q images.

    labels:  (Q,) int64. probs: (Q, K) float32, by the network.
    nearest: their nearest training images, or None if the training images are not known.
    others:  (R, Q, K) float32, the probabilities by R other networks, which did not train on these images either.
    """

    labels: np.ndarray
    probs: np.ndarray
    nearest: Nearest | None = None
    others: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        """(Q,) int64, the class that the network read."""
        return self.probs.argmax(axis=1)

    @property
    def opinion(self) -> np.ndarray:
        """(Q, K), what all networks together take the images for; their geometric mean."""
        return self.probs if self.others is None else geometric_mean([self.probs, *self.others])

    @property
    def conflicting(self) -> np.ndarray:
        """(Q, k) bool: which of the nearest by thumbnails have nearly the same pixels and another label."""
        if self.nearest is None:
            return np.zeros((len(self.labels), 1), dtype=bool)
        return (self.nearest.correlations >= NEAR_DUPLICATE) & (self.nearest.look_alike != self.labels[:, None])
