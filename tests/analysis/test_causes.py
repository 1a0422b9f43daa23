"""Causes on made-up evidence; tests/runs/test_explain.py has causes planted in images."""

from dataclasses import replace

import numpy as np
import pytest

from misread.analysis.causes import (
    CAUSES,
    SURE,
    Background,
    Cause,
    cause_probabilities,
    describe_evidence,
    find_cause,
    name_causes,
)
from misread.analysis.evidence import Evidence, Nearest
from misread.analysis.image_kinds import ImageKinds
from misread.analysis.mistakes import MistakeModel
from misread.analysis.neighbours import Neighbours
from misread.analysis.probabilities import geometric_mean
from misread.errors import DataError

TRAINING_LABELS = np.arange(100) // 25  # 25 training images of each of four classes a, b, c, d
NAMES = ("a", "b", "c", "d")
FAR = np.zeros((3, 10))
FAR[1, -1], FAR[2, [3, 4, -1]] = (
    -5,
    (4, 4, -10),
)  # blends are rare; strange images are far from training, by features and by pixels
KINDS = ImageKinds(np.array([1.0, 0.5]), np.array([1.2, 0.6]), FAR)


def near(classes: str, distance: float) -> Neighbours:
    """One image's neighbours, of these classes, from this distance on."""
    taken = [25 * NAMES.index(c) + i for i, c in enumerate(classes)]
    return Neighbours(np.array([taken]), distance + np.arange(len(taken))[None] / 1000)


def image(
    label: str, features: float = 1.0, pixels: float = 0.5, others: list[list[float]] | None = None, **probs: float
):  # type: ignore[no-untyped-def]
    """What is known of one image: distances of the nearest, and the probabilities of classes, the rest shared."""
    left = (1 - sum(probs.values())) / (len(NAMES) - len(probs)) if len(probs) < len(NAMES) else 0
    return Evidence(
        np.array([NAMES.index(label)]),
        np.array([[probs.get(name, left) for name in NAMES]], dtype=np.float32),
        Nearest(near("bbbaa", features), near("babbb", pixels), TRAINING_LABELS),
        None if others is None else np.array(others, np.float32)[:, None],
    )


def background(wrong: float = 0.0, most: float | None = None) -> Background:
    models = (MistakeModel(wrong_labels=wrong), MistakeModel(wrong_labels=wrong if most is None else most))
    return Background(models, KINDS, 0.001, 1000)


@pytest.mark.parametrize(
    ("case", "against", "cause", "evidence"),
    [
        (image("a", b=0.6, a=0.3), background(0.01), Cause.MODEL,
         "read as b 60.0%, a 30.0%; nearest training images b (3 of 5), a (2 of 5)"),
        (image("a", b=0.9997), background(0.03), Cause.LABEL,
         "read as b 100.0%, a 0.0%; nearest training images b (3 of 5), a (2 of 5)"),
        # the same where no wrong label is proven, but as many are possible
        (image("a", b=0.9997), background(0.0, 0.03), Cause.UNDETERMINED,
         "model error (at most 98%) or label doubtful (at most 97%); read as b 100.0%, a 0.0%; nearest"),
        # a training image is the same but for a correlation of 0.9975, and is labelled otherwise
        (image("a", b=0.9997, pixels=0.0707), background(), Cause.DUPLICATE,
         "training image 25, labelled b, correlates 0.9975"),
        # alike, but not that much
        (image("a", b=0.9, pixels=0.1), background(), Cause.MODEL, "read as b 90.0%, a 3.3%; nearest"),
        (image("a", b=0.9, features=3.0), background(), Cause.UNLIKE,
         "distance to the nearest training image by features 3, usually 1"),
        (image("a", b=0.9, pixels=1.3), background(), Cause.UNLIKE,
         "distance to the nearest training image by pixels 1.3, usually 0.5"),
    ],
)  # fmt: skip
def test_each_cause_has_its_evidence(case: Evidence, against: Background, cause: Cause, evidence: str) -> None:
    found = cause_probabilities(case, against)
    assert found.shape == (2, 1, 5)
    assert found.sum(axis=2) == pytest.approx(np.ones((2, 1)))
    [named], [sure] = name_causes(found)
    assert named is cause
    assert (sure >= SURE) == (cause is not Cause.UNDETERMINED)
    [said] = describe_evidence(case, against, found, NAMES, np.arange(100))
    assert said.startswith(evidence)


@pytest.mark.parametrize(
    ("others", "cause"),
    [
        ([[0.0, 1.0, 0, 0], [0.0002, 0.9998, 0, 0]], Cause.LABEL),
        ([[0.97, 0.03, 0, 0], [0.99, 0.01, 0, 0]], Cause.MODEL),
    ],
)
def test_other_runs_may_confirm_doubt_or_contradict(others: list[list[float]], cause: Cause) -> None:
    case = image("a", b=0.998, others=others)
    found = cause_probabilities(case, background(0.03))
    assert name_causes(found)[0] == [cause]
    assert "(other runs " in describe_evidence(case, background(), found, NAMES, np.arange(100))[0]


def test_a_near_duplicate_that_images_read_right_have_too_is_no_cause() -> None:
    case = image("a", b=0.6, a=0.3, pixels=0.0707)
    common = replace(background(), conflicting=0.3)
    assert cause_probabilities(case, common)[0, 0, CAUSES.index(Cause.DUPLICATE)] < 0.1


def test_shares_grow_with_what_is_seen() -> None:
    """An image that may be strange is taken for it more easily among many that certainly are."""
    unsure, strange = image("a", b=0.9, features=1.5), image("a", b=0.9, features=9.0)

    def doubt(n: int) -> float:
        parts = [unsure, *[strange] * n]
        joined = [
            Neighbours(
                *(
                    np.concatenate([getattr(getattr(p.nearest, by), f) for p in parts])
                    for f in ("positions", "distances")
                )
            )
            for by in ("by_features", "by_thumbnails")
        ]
        together = Evidence(
            np.concatenate([p.labels for p in parts]),
            np.concatenate([p.probs for p in parts]),
            Nearest(*joined, TRAINING_LABELS),
        )
        return float(cause_probabilities(together, background())[0, 0, CAUSES.index(Cause.UNLIKE)])

    assert doubt(0) < doubt(30)


def test_without_training_images_only_probabilities_count() -> None:
    case = Evidence(np.array([0]), np.array([[0.0001, 0.9999]], np.float32))
    bare = Background((MistakeModel(wrong_labels=0.05),) * 2, None, 0.0, 100)
    found = cause_probabilities(case, bare)
    assert name_causes(found)[0] == [Cause.LABEL]
    assert describe_evidence(case, bare, found, "ab", np.array([])) == ["read as b 100.0%, a 0.0%"]


def test_pooled_probabilities_are_geometric_means() -> None:
    assert geometric_mean([np.array([[0.5, 0.5]]), np.array([[0.2, 0.8]])])[0] == pytest.approx([1 / 3, 2 / 3])


def test_no_images_have_no_causes() -> None:
    none = Evidence(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    found = cause_probabilities(none, replace(background(), kinds=None))
    assert name_causes(found)[0] == []


def test_a_cause_is_found_by_its_name_with_spaces_or_hyphens() -> None:
    for cause in Cause:
        assert find_cause(cause) is find_cause(cause.replace(" ", "-").upper()) is cause
    with pytest.raises(DataError, match=r"no cause 'lable doubtful'. Did you mean 'label doubtful'\? Known: model"):
        find_cause("lable doubtful")
