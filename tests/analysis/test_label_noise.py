"""The number of wrong labels, estimated by networks that are simulated: they err at random or on hard images."""

import itertools

import numpy as np
import pytest

from misread.analysis.label_issues import flagged_issues, geometric_mean
from misread.analysis.label_noise import estimate_noise, looks_wrong, pair_agreement, wrong_share

N, K = 20_000, 10


def world(error: float, count: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """The right labels, and the probabilities of networks that read the images about as well as can be.

    Some images could show either of two classes: what they show is drawn, and so is what each network predicts.
    error: the share of images that a network misreads, half of those with two classes.
    """
    rng = np.random.default_rng([seed, 2])
    first = rng.integers(0, K, N)
    second = np.where(rng.random(N) < 2 * error, (first + rng.integers(1, K, N)) % K, first)

    def either() -> np.ndarray:
        return np.where(rng.random(N) < 0.5, first, second)

    truth, members = either(), []
    for _ in range(count):
        logits = rng.normal(0, 0.5, (N, K)) + 5 * (np.eye(K)[first] + np.eye(K)[second]) + 2 * np.eye(K)[either()]
        exp = np.exp(logits)
        members.append(exp / exp.sum(axis=1, keepdims=True))
    return truth, members


def planted(truth: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, 1])
    wrong = rng.random(N) < share
    return np.where(wrong, (truth + rng.integers(1, K, N)) % K, truth)


@pytest.mark.parametrize(("share", "seed"), itertools.product([0, 0.01, 0.05, 0.2], range(3)))
def test_the_interval_has_the_planted_number_with_good_networks(share: float, seed: int) -> None:
    truth, members = world(0.01, 3, seed)
    labels = planted(truth, share, seed)
    noise, wrong = estimate_noise(labels, members), labels != truth
    assert noise.low <= wrong.sum() <= noise.high
    assert noise.count == pytest.approx(wrong.sum(), abs=0.005 * N)
    assert noise.flagged <= noise.count
    flagged = flagged_issues(labels, geometric_mean(members), noise.count)
    assert noise.flagged == flagged.sum()
    if noise.flagged:
        assert noise.precision == pytest.approx(wrong[flagged].mean(), abs=0.06)


@pytest.mark.parametrize("share", [0, 0.05, 0.2])
def test_errors_of_weak_networks_are_not_taken_for_wrong_labels(share: float) -> None:
    truth, members = world(0.3, 3)
    labels = planted(truth, share)
    noise, wrong = estimate_noise(labels, members), labels != truth
    assert noise.low <= wrong.sum() <= noise.high
    assert noise.count == pytest.approx(wrong.sum(), abs=0.02 * N)
    assert noise.flagged <= noise.count < (members[0].argmax(axis=1) != labels).sum() - 0.2 * N
