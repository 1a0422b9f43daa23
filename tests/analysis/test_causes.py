"""Causes on made-up evidence, each rule for itself; tests/runs/test_explain.py has causes planted in images."""

import numpy as np
import pytest

from misread.analysis.causes import Cause, Evidence, assign_causes, describe_evidence, find_cause, measure_reference
from misread.analysis.neighbours import Neighbours
from misread.errors import DataError

TRAINING_LABELS = np.arange(100) // 25  # 25 training images of each of four classes a, b, c, d
NAMES = ("a", "b", "c", "d")


def near(classes: str, distance: float) -> Neighbours:
    """One image's neighbours, of these classes, from this distance on."""
    taken = [25 * NAMES.index(c) + i for i, c in enumerate(classes)]
    return Neighbours(np.array([taken]), distance + np.arange(len(taken))[None] / 1000)


def image(label: str, by_features: str, by_pixels: str, features: float = 1.0, pixels: float = 0.5, **probs: float):  # type: ignore[no-untyped-def]
    """What is known of one image: distances of the nearest, and the probabilities of classes, the rest shared."""
    left = (1 - sum(probs.values())) / (len(NAMES) - len(probs)) if len(probs) < len(NAMES) else 0
    return Evidence(
        np.array([NAMES.index(label)]),
        np.array([[probs.get(name, left) for name in NAMES]], dtype=np.float32),
        near(by_features, features),
        near(by_pixels, pixels),
        TRAINING_LABELS,
    )


def together(images: list[Evidence], others: np.ndarray | None = None) -> Evidence:
    def joined(parts: list[Neighbours]) -> Neighbours:
        return Neighbours(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("positions", "distances")))

    return Evidence(
        np.concatenate([i.labels for i in images]),
        np.concatenate([i.probs for i in images]),
        joined([i.by_features for i in images]),
        joined([i.by_thumbnails for i in images]),
        TRAINING_LABELS,
        others,
    )


def held_out(n: int = 200, by_pixels: str = "aaaab") -> Evidence:
    """Images of class a, nearly all read with 0.9 and more, nine of ten neighbours a, at distances of 1 to 1.2."""
    usual = [image("a", "aaaaa", by_pixels, 1 + i / 1000, 0.4 + i / 1000, a=0.9 + i / 10_000) for i in range(n)]
    hard = [image("a", "aaabb", "abbbb", 1.1, 0.5, a=0.6)] * (n // 25)
    wrong = [image("a", "bbbbb", "ccccc", 99.0, 1.4, b=0.7)] * (n // 10)  # misread, so no part of the reference
    return together([*usual, *hard, *wrong])


REFERENCE = measure_reference(held_out())


@pytest.mark.parametrize(
    ("case", "cause", "evidence"),
    [
        # a training image is the same but for a correlation of 0.9975, and is labelled otherwise
        (image("a", "bbbbb", "babbb", pixels=0.0707, b=0.99), Cause.DUPLICATE,
         "training image 25, labelled b, correlates 0.9975"),
        # the same, but its label is the image's own: then it is one more neighbour of the label
        (image("a", "aaaaa", "aaaaa", pixels=0.0707, b=0.99), Cause.MODEL,
         "read as b 99.0%, a 0.3%; 10 of 10 nearest training images are labelled a"),
        # alike, but not that much
        (image("a", "bbbbb", "bbbbb", pixels=0.1, b=0.99), Cause.LABEL,
         "read as b 99.0%; 10 of 10 nearest training images are labelled b"),
        # one neighbour fewer than usual for either class
        (image("a", "bbbbb", "bbbaa", b=0.99), Cause.AMBIGUOUS,
         "read as b 99.0%, a 0.3%; nearest training images b (8 of 10), a (2 of 10)"),
        (image("a", "aaaaa", "aaabb", b=0.6, a=0.4), Cause.AMBIGUOUS,
         "read as b 60.0%, a 40.0%; nearest training images a (8 of 10), b (2 of 10)"),
        (image("a", "aaaaa", "aaaab", b=0.6, a=0.4), Cause.MODEL,
         "read as b 60.0%, a 40.0%; 9 of 10 nearest training images are labelled a"),
        # neighbours of the predicted class, but the network hesitates
        (image("a", "bbbbb", "bbbbb", b=0.7, c=0.3), Cause.AMBIGUOUS,
         "read as b 70.0%, c 30.0%; nearest training images b (10 of 10)"),
        # farther than the reference, by features or by pixels
        (image("a", "bbbbb", "bbbbb", features=1.5, b=0.99), Cause.UNLIKE,
         "distance to the nearest training image by features 1.5, usually 1.1"),
        (image("a", "bbbbb", "bbbbb", pixels=0.9, b=0.99), Cause.UNLIKE,
         "distance to the nearest training image by pixels 0.9, usually 0.5"),
        # far, but the neighbours have its label: the network could have known
        (image("a", "aaaaa", "aaaaa", pixels=0.9, b=0.99), Cause.MODEL,
         "read as b 99.0%, a 0.3%; 10 of 10 nearest training images are labelled a"),
    ],
)  # fmt: skip
def test_each_cause_has_its_evidence(case: Evidence, cause: Cause, evidence: str) -> None:
    assert assign_causes(case, REFERENCE) == [cause]
    names = np.arange(100).astype(str).astype(object)
    assert describe_evidence(case, REFERENCE, [cause], NAMES, names) == [evidence]


def test_the_reference_is_that_of_images_read_right() -> None:
    assert REFERENCE.votes == 0.9
    assert REFERENCE.confidence == pytest.approx(0.9, abs=0.005)
    assert REFERENCE.middle == pytest.approx([1.1, 0.5], abs=0.005)
    assert (REFERENCE.farthest < [1.3, 0.7]).all()  # the misread at 99 do not count
    assert REFERENCE.pixels_vote


def test_neighbours_by_pixels_have_no_vote_where_looking_alike_says_nothing() -> None:
    reference = measure_reference(held_out(by_pixels="abcbd"))
    assert not reference.pixels_vote
    case = image("a", "bbbbb", "aaaaa", b=0.99)
    assert assign_causes(case, reference) == [Cause.LABEL]
    [evidence] = describe_evidence(case, reference, [Cause.LABEL], NAMES, np.arange(100))
    assert evidence.endswith("5 of 5 nearest training images are labelled b")


def test_where_nothing_was_read_right_all_held_out_images_are_the_reference() -> None:
    reference = measure_reference(together([image("a", "bcdbc", "bcdbc", b=0.9)] * 20))
    assert reference.votes == 0.5  # a minority is never enough
    assert assign_causes(image("a", "aabbb", "bbbbb", b=0.95), reference) == [Cause.LABEL]


@pytest.mark.parametrize(
    ("others", "cause", "said"),
    [
        ([[0.0, 1.0, 0, 0], [0.02, 0.98, 0, 0]], Cause.LABEL, "read as b 99.0% (other runs 99.0%); 10 of"),
        ([[0.6, 0.4, 0, 0], [0.2, 0.8, 0, 0]], Cause.AMBIGUOUS, "read as b 99.0% (other runs 60.0%), a 0.3% (other"),
        ([[0.97, 0.03, 0, 0], [0.99, 0.01, 0, 0]], Cause.MODEL, "read as b 99.0% (other runs 2.0%), a 0.3% (other"),
    ],
)  # fmt: skip
def test_other_runs_may_confirm_doubt_or_contradict(others: list[list[float]], cause: Cause, said: str) -> None:
    case = together([image("a", "bbbbb", "bbbbb", b=0.99)], np.array(others, np.float32)[:, None])
    assert assign_causes(case, REFERENCE) == [cause]
    assert describe_evidence(case, REFERENCE, [cause], NAMES, np.arange(100))[0].startswith(said)


def test_a_cause_is_found_by_its_name_with_spaces_or_hyphens() -> None:
    for cause in Cause:
        assert find_cause(cause) is find_cause(cause.replace(" ", "-").upper()) is cause
    with pytest.raises(DataError, match=r"no cause 'lable doubtful'. Did you mean 'label doubtful'\? Known: near-dup"):
        find_cause("lable doubtful")
