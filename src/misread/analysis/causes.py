"""Causes: why an image was misread, and how sure that is.

docs/causes.md says what each cause means, how its probability is measured, how often it is right, and where it fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from misread.analysis.evidence import Evidence
from misread.analysis.image_kinds import ImageKinds
from misread.analysis.mistakes import MistakeModel
from misread.errors import DataError
from misread.messages import Message
from misread.names import nearest

SURE = 0.7  # a cause is named if its probability is at least this
RARE = 0.002  # the share of images that each cause but the first two is assumed to have before the images are seen
COUNTED = 500  # how many images such an assumption counts for
ROUNDS = 100  # of expectation maximisation


class Cause(StrEnum):
    """The causes, and `undetermined` for images without a probable one."""

    MODEL = "model error"
    LABEL = "label doubtful"
    AMBIGUOUS = "ambiguous"
    UNLIKE = "unlike anything in training"
    DUPLICATE = "near-duplicate with another label"
    UNDETERMINED = "undetermined"


CAUSES = tuple(Cause)[:-1]


def find_cause(text: str) -> Cause:
    """The cause with this name; hyphens and spaces are the same. Raises DataError: there is no such cause."""
    known = {cause.replace("-", " "): cause for cause in Cause}
    wanted = text.strip().lower().replace("-", " ")
    if wanted not in known:
        raise DataError(f"There is no cause {text!r}.{nearest(text, Cause)} Known: {', '.join(Cause)}.")
    return known[wanted]


@dataclass(frozen=True)
class Background:
    """What the evidence about a misread image is compared with.

    mistakes:    models of the network's own mistakes, with as few and as many wrong labels as possible.
    kinds:       separates blends and strange images from ordinary ones; None if there are too few held-out images.
    conflicting: the share of held-out images, read right, that have a near-duplicate with another label in training.
    images:      how many images the split has, the misread ones included.
    """

    mistakes: tuple[MistakeModel, MistakeModel]
    kinds: ImageKinds | None
    conflicting: float
    images: int


def cause_probabilities(images: Evidence, background: Background) -> np.ndarray:
    """(2, Q, 5) the probability of each of `CAUSES` for Q misread images, by either model of mistakes.

    images: all misread images of a split together.
    """
    return np.stack(
        [_mixture(_likelihoods(images, background, model), model, background.images) for model in background.mistakes]
    )


def _mixture(likelihoods: np.ndarray, model: MistakeModel, images: int) -> np.ndarray:
    """(Q, 5) the probability of each cause: its likelihood (Q, 5) times its share of all images, scaled to sum to 1.

    The shares are fitted by expectation maximisation, from assumed ones that count for `COUNTED` images: that of wrong
    labels by the model of mistakes, `RARE` for each other rare cause. If the model has no wrong labels, no label is
    doubtful.
    Source: fitting shares to unlabelled cases, Saerens, Latinne and Decaestecker 2002, doi 10.1162/089976602753284446.
    """
    shares = assumed = np.array([0.0, model.wrong_labels, RARE, RARE, RARE])
    for _round in range(ROUNDS):
        joint = np.append(1 - shares[1:].sum(), shares[1:]) * likelihoods
        probabilities = joint / joint.sum(axis=1, keepdims=True)
        shares = (probabilities.sum(axis=0) + assumed * COUNTED) / (images + COUNTED)
    return np.asarray(probabilities)


def _likelihoods(images: Evidence, background: Background, model: MistakeModel) -> np.ndarray:
    """(Q, 5) for each cause, the likelihood of label, image and near-duplicates, up to a factor of the image.

    MODEL:     an ordinary image with the right label: the network errs as often as the model of mistakes says.
    LABEL:     an ordinary image with any label but that which was read.
    AMBIGUOUS: a blend; its label is among the other classes in proportion to their probabilities.
    UNLIKE:    a strange image with any label but that which was read.
    DUPLICATE: an ordinary image with any label but that which was read, and there is a near-duplicate.
    """
    any_other = 1 / max(images.probs.shape[1] - 1, 1)
    opinion, predicted = images.opinion, images.predicted
    share = model.label_shares(opinion, predicted, images.labels)
    ratios = np.zeros((len(share), 2)) if background.kinds is None else background.kinds.ratios(images)
    conflict = images.conflicting.any(axis=1)
    by_chance = np.where(conflict, background.conflicting, 1 - background.conflicting)
    mistake = (1 - model.anywhere) * share + model.anywhere * any_other
    return np.stack(
        [
            by_chance * np.maximum(model.misread_chance(opinion, predicted) * mistake, 1e-300),
            by_chance * any_other,
            by_chance * ratios[:, 0] * share,
            by_chance * ratios[:, 1] * any_other,
            conflict * any_other,
        ],
        axis=1,
    )


def name_causes(probabilities: np.ndarray) -> tuple[list[Cause], np.ndarray]:
    """The cause of each of Q images, undetermined if none is `SURE`; and the probability (Q,) that it has at least.

    probabilities: (2, Q, 5) by `cause_probabilities`; the lower of the two counts.
    """
    lower = probabilities.min(axis=0)
    best = lower.max(axis=1)
    named = [CAUSES[at] if p >= SURE else Cause.UNDETERMINED for at, p in zip(lower.argmax(axis=1), best, strict=True)]
    return named, best


def describe_evidence(
    images: Evidence,
    background: Background,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    training_names: np.ndarray,
) -> list[Message]:
    """For each image, in a few words, the evidence for its cause. training_names: (N,) names of the training images."""
    causes, _ = name_causes(probabilities)
    return [
        _describe(images, background, row, cause, probabilities[:, row].max(axis=0), class_names, training_names)
        for row, cause in enumerate(causes)
    ]


def _describe(
    images: Evidence,
    background: Background,
    row: int,
    cause: Cause,
    possible: np.ndarray,
    names: Sequence[str],
    training_names: np.ndarray,
) -> Message:
    label = int(images.labels[row])
    first, second = (int(k) for k in np.argsort(-images.probs[row], kind="stable")[:2])

    def read_as(k: int) -> Message:
        share = f"{images.probs[row, k]:.1%}"
        if images.others is None:
            return Message("evidence.reading", name=names[k], share=share)
        others = f"{images.others[:, row, k].mean():.1%}"
        return Message("evidence.reading-others", name=names[k], share=share, others=others)

    near = images.nearest
    if near is None:
        read = Message("evidence.read", readings=[read_as(first), read_as(label)])
        return _undecided(cause, possible, read)
    classes, counts = np.unique(near.classes[row], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    listed = [Message("evidence.class", name=names[classes[i]], k=int(counts[i]), all=int(counts.sum())) for i in order]
    match cause:
        case Cause.DUPLICATE:
            at = int(np.argmax(images.conflicting[row]))
            return Message(
                "evidence.duplicate",
                name=str(training_names[near.by_thumbnails.positions[row, at]]),
                label=names[near.look_alike[row, at]],
                correlation=f"{near.correlations[row, at]:.4f}",
            )
        case Cause.UNLIKE if background.kinds is not None:
            kinds, distances = background.kinds, near.distances[row]
            by = int(np.argmax((distances - kinds.middle) / (kinds.high - kinds.middle)))
            key = ("evidence.features", "evidence.pixels")[by]
            return Message(key, distance=f"{distances[by]:.3g}", usual=f"{kinds.middle[by]:.3g}")
        case Cause.AMBIGUOUS:
            return Message("evidence.read-near", readings=[read_as(first), read_as(second)], classes=listed)
    read = Message("evidence.read-near", readings=[read_as(first), read_as(label)], classes=listed)
    return _undecided(cause, possible, read)


def _undecided(cause: Cause, possible: np.ndarray, evidence: Message) -> Message:
    """The evidence; if no cause is named, after the two most probable ones.

    possible: (5,) how probable each cause is at most.
    """
    if cause is not Cause.UNDETERMINED:
        return evidence
    first, second = np.argsort(-possible, kind="stable")[:2]
    return Message(
        "evidence.undecided",
        first=cause_name(CAUSES[first]),
        first_share=f"{possible[first]:.0%}",
        second=cause_name(CAUSES[second]),
        second_share=f"{possible[second]:.0%}",
        rest=evidence,
    )


def cause_name(cause: str) -> Message:
    """The name of a cause, in words that a page can say in its language."""
    return Message(f"cause.{cause.replace(' ', '-')}")
