"""Causes: why an image was misread, by the network's probabilities and the nearest training images.

docs/causes.md says what each cause means, how often it is right, and where it fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np

from misread.analysis.neighbours import Neighbours
from misread.analysis.thumbnails import NEAR_DUPLICATE
from misread.errors import DataError
from misread.names import nearest

NEIGHBOURS = 5  # the nearest training images that count: so many by features, and so many by pixels
FARTHEST = 0.995  # the share of reference images nearer to training than an image called unlike
UNUSUAL = 0.05  # the share of reference images below the reference's confidence, and below its share of votes


class Cause(StrEnum):
    """The causes in the order in which they are tried. An image's cause is the first with evidence for it."""

    DUPLICATE = "near-duplicate with another label"
    MODEL = "model error"
    UNLIKE = "unlike anything in training"
    LABEL = "label doubtful"
    AMBIGUOUS = "ambiguous"


def find_cause(text: str) -> Cause:
    """The cause with this name; hyphens and spaces are the same. Raises DataError: there is no such cause."""
    known = {cause.replace("-", " "): cause for cause in Cause}
    wanted = text.strip().lower().replace("-", " ")
    if wanted not in known:
        raise DataError(f"There is no cause {text!r}.{nearest(text, Cause)} Known: {', '.join(Cause)}.")
    return known[wanted]


@dataclass(frozen=True)
class Evidence:
    """The evidence about Q images that a cause is judged by.

    labels: (Q,) int64. probs: (Q, K) float32, by the network.
    by_features, by_thumbnails: their nearest training images, found in two ways.
    training_labels: (N,) int64, the labels of all training images.
    others: (R, Q, K) float32, the probabilities by R other networks, which did not train on these images either.
    """

    labels: np.ndarray
    probs: np.ndarray
    by_features: Neighbours
    by_thumbnails: Neighbours
    training_labels: np.ndarray
    others: np.ndarray | None = None

    @property
    def predicted(self) -> np.ndarray:
        return self.probs.argmax(axis=1)

    @property
    def distances(self) -> np.ndarray:
        """(Q, 2) float32, the distance to the nearest training image by features and by thumbnails."""
        return np.stack([self.by_features.distances[:, 0], self.by_thumbnails.distances[:, 0]], axis=1)

    @property
    def look_alike(self) -> np.ndarray:
        """(Q, k) int64, the labels of the nearest training images by thumbnails."""
        return self.training_labels[self.by_thumbnails.positions]

    @property
    def correlations(self) -> np.ndarray:
        """(Q, k) float32, the correlation of the thumbnail with those of the nearest training images."""
        return 1 - self.by_thumbnails.distances**2 / 2

    def voters(self, pixels_vote: bool) -> np.ndarray:
        """(Q, k or 2k) int64, the labels of the nearest by features and, if `pixels_vote`, by thumbnails."""
        by_features = self.training_labels[self.by_features.positions]
        return np.concatenate([by_features, self.look_alike], axis=1) if pixels_vote else by_features


@dataclass(frozen=True)
class Reference:
    """Reference values, measured on images that the network did not train on and reads right.

    middle, farthest: (2,) distance to the nearest training image by features and by thumbnails: the median, and the
                      distance that one image in 200 exceeds.
    pixels_vote:      whether the neighbours by thumbnails predict the class.
    votes:            the share of neighbours of their own class; `UNUSUAL` of the images have less.
    confidence:       the probability of the predicted class; `UNUSUAL` of the images have less.
    """

    middle: np.ndarray
    farthest: np.ndarray
    pixels_vote: bool
    votes: float
    confidence: float


def measure_reference(held_out: Evidence) -> Reference:
    """The reference values of held-out images: of those read right, or of all if none is.

    `farthest` is extrapolated from the median and the 95th percentile as if distances were normal, so a few strange
    held-out images do not hide others. Neighbours by thumbnails vote if more than half of them have their image's
    label. `votes` is at least one half.
    """
    pixels_vote = bool((held_out.look_alike == held_out.labels[:, None]).mean() > 0.5)
    right = held_out.predicted == held_out.labels
    right = right if right.any() else np.ones_like(right)
    votes = (held_out.voters(pixels_vote) == held_out.labels[:, None]).mean(axis=1)[right]
    nearest_by = np.stack([found.distances[right, 0] for found in (held_out.by_features, held_out.by_thumbnails)])
    middle, high = np.quantile(nearest_by, [0.5, 0.95], axis=1)
    normal = NormalDist().inv_cdf
    return Reference(
        middle=middle,
        farthest=middle + (high - middle) * normal(FARTHEST) / normal(0.95),
        pixels_vote=pixels_vote,
        votes=max(0.5, float(np.quantile(votes, UNUSUAL, method="lower"))),
        confidence=float(np.quantile(held_out.probs.max(axis=1)[right], UNUSUAL)),
    )


def assign_causes(images: Evidence, reference: Reference) -> list[Cause]:
    """The cause of each of Q misread images: the first of these that holds.

    DUPLICATE: a training image with nearly the same pixels has another label.
    MODEL:     the share of neighbours with the image's label reaches the reference, or the other networks' mean
               confidence in the label does.
    UNLIKE:    by features or by pixels, the nearest training image is farther than the reference's `farthest`.
    LABEL:     the confidence in the prediction reaches the reference, also by the other networks' mean, and so does
               the share of neighbours with the predicted class.
    AMBIGUOUS: none of these: the neighbours are of several classes, or the confidence is low.
    """
    rows, voters = np.arange(len(images.labels)), images.voters(reference.pixels_vote)
    alike = images.correlations >= NEAR_DUPLICATE
    duplicate = (alike & (images.look_alike != images.labels[:, None])).any(axis=1)
    unlike = (images.distances > reference.farthest).any(axis=1)
    confident = images.probs.max(axis=1) >= reference.confidence
    contrary = (voters == images.predicted[:, None]).mean(axis=1) >= reference.votes
    as_labelled = (voters == images.labels[:, None]).mean(axis=1) >= reference.votes
    if images.others is not None:
        mean = images.others.mean(axis=0)
        confident &= mean[rows, images.predicted] >= reference.confidence
        as_labelled |= mean[rows, images.labels] >= reference.confidence
    evidence = np.stack([duplicate, as_labelled, unlike, confident & contrary, np.ones_like(unlike)])
    return [tuple(Cause)[first] for first in evidence.argmax(axis=0)]


def describe_evidence(
    images: Evidence,
    reference: Reference,
    causes: Sequence[Cause],
    class_names: Sequence[str],
    training_names: np.ndarray,
) -> list[str]:
    """For each image, in a few words, the evidence for its cause. training_names: (N,) names of the training images."""
    return [_describe(images, reference, row, cause, class_names, training_names) for row, cause in enumerate(causes)]


def _describe(
    images: Evidence,
    reference: Reference,
    row: int,
    cause: Cause,
    names: Sequence[str],
    training_names: np.ndarray,
) -> str:
    label, voters = int(images.labels[row]), images.voters(reference.pixels_vote)[row]
    first, second = (int(k) for k in np.argsort(-images.probs[row], kind="stable")[:2])

    def read_as(k: int) -> str:
        others = "" if images.others is None else f" (other runs {images.others[:, row, k].mean():.1%})"
        return f"{names[k]} {images.probs[row, k]:.1%}{others}"

    def neighbours(k: int) -> str:
        return f"{(voters == k).sum()} of {len(voters)} nearest training images are labelled {names[k]}"

    match cause:
        case Cause.DUPLICATE:
            other = (images.look_alike[row] != label) & (images.correlations[row] >= NEAR_DUPLICATE)
            at = int(np.argmax(other))
            return (
                f"training image {training_names[images.by_thumbnails.positions[row, at]]}, "
                f"labelled {names[images.look_alike[row, at]]}, correlates {images.correlations[row, at]:.4f}"
            )
        case Cause.UNLIKE:
            distances = images.distances[row]
            by = int(np.argmax(distances / reference.farthest))
            usually = f"{distances[by]:.3g}, usually {reference.middle[by]:.3g}"
            return f"distance to the nearest training image by {('features', 'pixels')[by]} {usually}"
        case Cause.LABEL:
            return f"read as {read_as(first)}; {neighbours(first)}"
        case Cause.MODEL:
            return f"read as {read_as(first)}, {read_as(label)}; {neighbours(label)}"
        case Cause.AMBIGUOUS:
            classes, counts = np.unique(voters, return_counts=True)
            order = np.argsort(-counts, kind="stable")
            listed = ", ".join(f"{names[classes[i]]} ({counts[i]} of {len(voters)})" for i in order)
            return f"read as {read_as(first)}, {read_as(second)}; nearest training images {listed}"
