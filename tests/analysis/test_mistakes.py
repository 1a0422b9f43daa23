"""The model of mistakes, on images whose labels are drawn by known rules."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from misread.analysis.causes import CAUSES, SURE, Background, Cause, cause_probabilities
from misread.analysis.evidence import Evidence
from misread.analysis.mistakes import MistakeModel, _Likelihood, fit_mistakes


def drawn(
    seed: int, n: int = 6000, classes: int = 10, sharp: float = 2.0, trust: float = 1.0, wrong: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities, and which labels are wrong: a share `wrong` of them, another class at random.

    A right label is drawn from the network's probabilities, softened if `trust` is below 1: the network is then too
    sure. The greater `sharp`, the surer it is.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * rng.gamma(sharp, 1.5, size=(n, 1))
    probs, true = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, trust * logits))
    labels = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    flipped = rng.random(n) < wrong
    labels[flipped] = (labels[flipped] + rng.integers(1, classes, flipped.sum())) % classes
    return labels, probs.astype(np.float32), flipped


def judged(labels: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the misread, and the probability (2, M) that their label is wrong."""
    predicted = probs.argmax(axis=1)
    at = np.flatnonzero(predicted != labels)
    background = Background(fit_mistakes(labels, probs, predicted), None, 0.0, len(labels))
    found = cause_probabilities(Evidence(labels[at], probs[at]), background)
    return at, found[:, :, CAUSES.index(Cause.LABEL)]


@pytest.mark.parametrize(
    ("sharp", "classes", "trust"), [(0.7, 10, 1.0), (0.7, 2, 0.5), (4.0, 10, 0.5), (2.0, 100, 1.0)]
)  # from half to nearly all read right, calibrated and too sure
def test_no_label_is_doubtful_where_none_is_wrong(sharp: float, classes: int, trust: float) -> None:
    said = misread = 0
    for seed in range(2):
        labels, probs, _ = drawn(seed, 1500, classes, sharp, trust)
        at, doubt = judged(labels, probs)
        said, misread = said + (doubt.min(axis=0) >= SURE).sum(), misread + len(at)
    assert misread > 100
    assert said <= 0.005 * misread


@pytest.mark.parametrize("wrong", [0.01, 0.05])
def test_wrong_labels_are_counted_and_said_with_the_precision_promised(wrong: float) -> None:
    said = right = planted = 0
    counted = []
    for seed in range(3):
        labels, probs, flipped = drawn(seed, sharp=3.0, wrong=wrong)
        few, many = fit_mistakes(labels, probs, probs.argmax(axis=1))
        assert few.wrong_labels <= many.wrong_labels
        counted.append(few.wrong_labels)
        at, doubt = judged(labels, probs)
        sure = doubt.min(axis=0) >= SURE
        said, right, planted = said + sure.sum(), right + flipped[at][sure].sum(), planted + flipped.sum()
    assert np.mean(counted) == pytest.approx(wrong, rel=0.4)
    assert right / said >= SURE
    assert right / planted > 0.3  # the others are too unsure to tell


def test_at_least_the_probability_said_of_the_labels_is_wrong() -> None:
    """Calibration: of the images whose label is wrong with a probability of at least p, a share of at least p is."""
    doubts, wrongs = [], []
    for seed in range(4):
        labels, probs, flipped = drawn(seed, sharp=3.0, trust=0.8, wrong=0.03)
        at, doubt = judged(labels, probs)
        doubts.append(doubt)
        wrongs.append(flipped[at])
    doubt, wrong = np.concatenate(doubts, axis=1), np.concatenate(wrongs)
    least = doubt.min(axis=0)
    shares = []
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 0.95), (0.95, 1.01)):
        group = (least >= low) & (least < high)
        shares.append(wrong[group].mean())
        assert group.sum() > 20
        assert least[group].mean() - 0.08 < shares[-1] < least[group].mean() + 0.25
    assert shares == sorted(shares)


def test_a_label_that_was_read_is_plausible_and_an_unlikely_one_is_not() -> None:
    probs = np.array([[0.999, 0.0009, 0.0001], [0.999, 0.0009, 0.0001], [0.5, 0.4, 0.1]], np.float32)
    found = MistakeModel().plausible(probs, np.zeros(3, np.int64), np.array([0, 2, 1]), 0.002)
    # the chances of these mistakes are 0.001 * 0.1 and 0.5 * 0.8, beside 0.001 for any label whatsoever
    assert found == pytest.approx([0.999 / 1.0, 0.0001 / 0.0011, 0.4 / 0.401], rel=0.01)


def test_equally_sure_mistakes_may_be_anything() -> None:
    """A network that gives the same probability to every image tells nothing about wrong labels."""
    probs = np.full((400, 4), 0.01, np.float32)
    probs[np.arange(400), np.arange(400) % 4] = 0.97
    labels = np.arange(400) % 4
    labels[::8] = (labels[::8] + 1 + np.arange(50) % 3) % 4
    few, many = fit_mistakes(labels, probs, probs.argmax(axis=1))
    assert few.wrong_labels == 0
    assert many.wrong_labels > 0.05
    _, doubt = judged(labels, probs)
    assert doubt[0].max() < 0.01
    assert doubt[1].min() > 1 - SURE


def test_probabilities_of_0_and_1_are_no_proof() -> None:
    """A decision tree's probabilities: every image is read with certainty, and some are misread."""
    rng = np.random.default_rng(0)
    probs = np.eye(3, dtype=np.float32)[np.arange(600) % 3]
    labels = np.where(rng.random(600) < 0.1, rng.integers(0, 3, 600), np.arange(600) % 3)
    assert judged(labels, probs)[1].min(axis=0).max() < SURE


def test_without_mistakes_and_with_nothing_else_the_model_is_the_default() -> None:
    labels, probs, _ = drawn(0, 200)
    predicted = probs.argmax(axis=1)
    assert fit_mistakes(predicted, probs, predicted) == (MistakeModel(), MistakeModel())
    assert fit_mistakes((predicted + 1) % 10, probs, predicted) == (MistakeModel(), MistakeModel())
    assert fit_mistakes(labels[:0], probs[:0], predicted[:0]) == (MistakeModel(), MistakeModel())


@pytest.mark.parametrize("at", [[0.1, 1.0, 0.2, 0.1, -3.0, -4.0], [1.0, -1.0, -0.5, 0.3, -5.0, -2.0]])
def test_the_gradient_is_that_of_finite_differences(at: list[float]) -> None:
    labels, probs, _ = drawn(1, 500, wrong=0.05)
    likelihood = _Likelihood(labels, probs, probs.argmax(axis=1))
    for place in (np.array(at), np.array(at[:5])):
        slopes = approx_fprime(place, lambda x: likelihood.loss(x)[0], 1e-6)
        assert likelihood.loss(place)[1] == pytest.approx(slopes, rel=1e-3, abs=1e-2)
