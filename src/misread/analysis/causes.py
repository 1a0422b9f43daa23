"""Causes: why an image was misread, judged by the network's probabilities and by the nearest training images.

docs/causes.md says what each cause means, how often it is right, and where it is not.
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

NEIGHBOURS = 5  # training images looked at, by features and by pixels each
FARTHEST = 0.995  # of the usual images have a training image nearer than an unlike one
UNUSUAL = 0.05  # of the usual images are read less confidently, or have fewer neighbours of their class


class Cause(StrEnum):
    """In the order in which they are tried: the first that there is evidence for is an image's cause."""

    DUPLICATE = "near-duplicate with another label"
    MODEL = "model error"
    UNLIKE = "unlike anything in training"
    LABEL = "label doubtful"
    AMBIGUOUS = "ambiguous"


def find_cause(text: str) -> Cause:
    """The cause of this name; hyphens and spaces are the same. Raises DataError: there is none."""
    known = {cause.replace("-", " "): cause for cause in Cause}
    wanted = text.strip().lower().replace("-", " ")
    if wanted not in known:
        raise DataError(f"There is no cause {text!r}.{nearest(text, Cause)} Known: {', '.join(Cause)}.")
    return known[wanted]


@dataclass(frozen=True)
class Witnesses:
    """What is known of Q images.

    labels: (Q,) int64. probs: (Q, K) float32 of the network.
    by_features, by_thumbnails: their nearest training images, found in two ways.
    training_labels: (N,) int64 of all training images.
    others: (R, Q, K) float32, what R other networks say, which have not trained on these images either.
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
        """(Q, 2) to the nearest training image by features and by thumbnails."""
        return np.stack([self.by_features.distances[:, 0], self.by_thumbnails.distances[:, 0]], axis=1)

    @property
    def look_alike(self) -> np.ndarray:
        """(Q, k) int64 labels of the nearest by thumbnails."""
        return self.training_labels[self.by_thumbnails.positions]

    @property
    def correlations(self) -> np.ndarray:
        """(Q, k) float32 of the thumbnails with those of the nearest."""
        return 1 - self.by_thumbnails.distances**2 / 2

    def voters(self, pixels_vote: bool) -> np.ndarray:
        """(Q, k or 2k) int64, the labels of the nearest by features, and by thumbnails where these have a vote."""
        by_features = self.training_labels[self.by_features.positions]
        return np.concatenate([by_features, self.look_alike], axis=1) if pixels_vote else by_features


@dataclass(frozen=True)
class Usual:
    """What is usual for images that a network has not trained on and reads right.

    middle, farthest: (2,) distance to the nearest training image by features and by thumbnails: the median, and what
                      is exceeded by one image in 200.
    pixels_vote:      whether neighbours by thumbnails say anything of the class.
    votes:            the share of neighbours of its own class that all but `UNUSUAL` of them have.
    confidence:       the probability that all but `UNUSUAL` of them are read with.
    """

    middle: np.ndarray
    farthest: np.ndarray
    pixels_vote: bool
    votes: float
    confidence: float


def measure_usual(held_out: Witnesses) -> Usual:
    """What is usual, from images held out of training: from those that were read right, or from all where none was.

    `farthest` is reached from the median and the 95th percentile as if distances were normal, so that some strange
    images among those held out hide no others. Neighbours by thumbnails have a vote where more than half of them have
    their image's label. Fewer than half of the votes are never enough.
    """
    pixels_vote = bool((held_out.look_alike == held_out.labels[:, None]).mean() > 0.5)
    right = held_out.predicted == held_out.labels
    right = right if right.any() else np.ones_like(right)
    votes = (held_out.voters(pixels_vote) == held_out.labels[:, None]).mean(axis=1)[right]
    nearest_by = np.stack([found.distances[right, 0] for found in (held_out.by_features, held_out.by_thumbnails)])
    middle, high = np.quantile(nearest_by, [0.5, 0.95], axis=1)
    normal = NormalDist().inv_cdf
    return Usual(
        middle=middle,
        farthest=middle + (high - middle) * normal(FARTHEST) / normal(0.95),
        pixels_vote=pixels_vote,
        votes=max(0.5, float(np.quantile(votes, UNUSUAL, method="lower"))),
        confidence=float(np.quantile(held_out.probs.max(axis=1)[right], UNUSUAL)),
    )


def assign_causes(images: Witnesses, usual: Usual) -> list[Cause]:
    """The cause of each of Q misread images, the first with its evidence there.

    DUPLICATE: a training image with nearly the same pixels has another label.
    MODEL:     as many neighbours as usual are of the label's class, or the other networks' mean is as confident as
               usual of it.
    UNLIKE:    by features or by pixels its nearest training image is farther than that of nearly all usual images.
    LABEL:     the prediction is as confident as usual, by the other networks' mean too, and as many neighbours as usual
               are of the predicted class.
    AMBIGUOUS: none of these: the neighbours are of several classes, or the network hesitates.
    """
    rows, voters = np.arange(len(images.labels)), images.voters(usual.pixels_vote)
    alike = images.correlations >= NEAR_DUPLICATE
    duplicate = (alike & (images.look_alike != images.labels[:, None])).any(axis=1)
    unlike = (images.distances > usual.farthest).any(axis=1)
    confident = images.probs.max(axis=1) >= usual.confidence
    contrary = (voters == images.predicted[:, None]).mean(axis=1) >= usual.votes
    as_labelled = (voters == images.labels[:, None]).mean(axis=1) >= usual.votes
    if images.others is not None:
        mean = images.others.mean(axis=0)
        confident &= mean[rows, images.predicted] >= usual.confidence
        as_labelled |= mean[rows, images.labels] >= usual.confidence
    evidence = np.stack([duplicate, as_labelled, unlike, confident & contrary, np.ones_like(unlike)])
    return [tuple(Cause)[first] for first in evidence.argmax(axis=0)]


def describe_evidence(
    images: Witnesses, usual: Usual, causes: Sequence[Cause], class_names: Sequence[str], called: np.ndarray
) -> list[str]:
    """For each image, in few words, what its cause rests on. called: (N,) what the training images are called."""
    return [_evidence(images, usual, row, cause, class_names, called) for row, cause in enumerate(causes)]


def _evidence(images: Witnesses, usual: Usual, row: int, cause: Cause, names: Sequence[str], called: np.ndarray) -> str:
    label, voters = int(images.labels[row]), images.voters(usual.pixels_vote)[row]
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
                f"training image {called[images.by_thumbnails.positions[row, at]]}, "
                f"labelled {names[images.look_alike[row, at]]}, correlates {images.correlations[row, at]:.4f}"
            )
        case Cause.UNLIKE:
            distances = images.distances[row]
            by = int(np.argmax(distances / usual.farthest))
            usually = f"{distances[by]:.3g}, usually {usual.middle[by]:.3g}"
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
