import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from misread.analysis.class_means import accuracy_warnings, class_means
from misread.analysis.scored import Scored


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(2, 8), st.integers(0, 1000))
def test_means_over_classes_are_those_of_scikit_learn(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, k, n), rng.integers(0, k, n)
    means = class_means(labels, predicted, k)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes without images
        assert means["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
        assert means["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro", zero_division=0))


def test_means_are_in_the_metrics_and_0_without_images() -> None:
    scored = Scored([0, 0, 0, 1], [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.8, 0.2]])
    metrics = scored.metrics()
    assert (metrics["accuracy"], metrics["balanced_accuracy"]) == (0.75, 0.5)
    assert metrics["macro_f1"] == pytest.approx((6 / 7 + 0) / 2)
    nothing = scored.take(np.zeros(0, int))
    assert (nothing.metrics()["balanced_accuracy"], nothing.metrics()["macro_f1"]) == (0.0, 0.0)
    assert nothing.accuracy_warnings() == []


def outcome(*classes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions: each class has this many images, and this many of them are read right."""
    labels = np.concatenate([np.full(n, k) for k, (n, _) in enumerate(classes)])
    predicted = np.concatenate([np.where(np.arange(n) < right, k, 1 - k) for k, (n, right) in enumerate(classes)])
    return labels, predicted


NAMES = ("rare", "frequent")
CONSTANT, RARE, FEW = "not clearly better than a constant answer", "rare classes are misread more", "prove little"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ([(1000, 950), (1000, 940)], []),  # equal classes
        ([(100, 0), (900, 900)], [CONSTANT]),
        ([(100, 20), (900, 890)], [CONSTANT]),  # 91%: inside the interval
        ([(100, 50), (900, 895)], [RARE]),  # 94.5%, balanced 74.7%
        ([(100, 97), (900, 890)], []),  # unequal classes, read equally well
        ([(10, 9), (10, 9)], [FEW]),
        ([(5, 0), (35, 35)], [CONSTANT, FEW]),
        ([(1, 1), (0, 0)], [CONSTANT, "proves little"]),
    ],
)
def test_warnings_say_what_the_accuracy_hides(classes: list[tuple[int, int]], expected: list[str]) -> None:
    found = accuracy_warnings(*outcome(*classes), NAMES)
    assert len(found) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, found, strict=True))


def test_warnings_name_the_numbers() -> None:
    assert accuracy_warnings(*outcome((100, 20), (900, 890)), NAMES) == [
        "The accuracy of 91.00% is not clearly better than a constant answer: 90.00% of the images are of class "
        "'frequent'."
    ]
    assert accuracy_warnings(*outcome((100, 50), (900, 895)), NAMES) == [
        "The accuracy of 94.50% hides that rare classes are misread more often: the mean of the classes' accuracies "
        "(balanced accuracy) is 74.72%."
    ]
    assert accuracy_warnings(*outcome((10, 9), (10, 9)), NAMES) == [
        "20 images prove little: the accuracy on new images may be anywhere between 70% and 97%."
    ]
