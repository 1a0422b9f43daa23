"""The number of wrong labels, estimated by networks that are simulated: they err at random or on hard images."""

import itertools

import numpy as np
import pytest

from misread.analysis.label_issues import flagged_issues
from misread.analysis.label_noise import estimate_noise, flagged_precision, looks_wrong, pair_agreement, wrong_share
from misread.analysis.probabilities import geometric_mean

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


@pytest.mark.parametrize(("share", "seed"), [*itertools.product([0, 0.01, 0.05, 0.2], range(3))])
def test_the_interval_has_the_planted_number_with_good_networks(share: float, seed: int) -> None:
    truth, members = world(0.01, 3, seed)
    labels = planted(truth, share, seed)
    noise, wrong = estimate_noise(labels, members), labels != truth
    assert noise.low <= wrong.sum() <= noise.high
    assert noise.count == pytest.approx(wrong.sum(), abs=0.005 * N)
    assert noise.flagged <= noise.high
    flagged = flagged_issues(labels, geometric_mean(members), noise.flagged)
    assert noise.flagged == flagged.sum()
    if noise.flagged:
        assert noise.precision == pytest.approx(wrong[flagged].mean(), abs=0.06)


@pytest.mark.parametrize("share", [0, 0.05, 0.2])
def test_errors_of_weak_networks_are_not_taken_for_wrong_labels(share: float) -> None:
    truth, members = world(0.3, 3)
    labels = planted(truth, share)
    noise, wrong = estimate_noise(labels, members), labels != truth
    assert noise.low <= wrong.sum() <= noise.high
    assert noise.count == pytest.approx(wrong.sum(), abs=0.05 * N)
    assert noise.flagged <= noise.high
    assert (
        noise.precision >= 0.5 or noise.flagged <= noise.count < (members[0].argmax(axis=1) != labels).sum() - 0.2 * N
    )


@pytest.mark.parametrize("error", [0.01, 0.3])
def test_right_labels_that_a_weak_network_misreads_are_trained_on(error: float) -> None:
    truth, members = world(error, 3)
    assert looks_wrong(truth, members[0], members[1:]).sum() < 0.01 * N
    labels = planted(truth, 0.05)
    flagged, dropped = flagged_issues(labels, members[0]), looks_wrong(labels, members[0], members[1:])
    wrong = labels != truth
    assert dropped.sum() == pytest.approx(min(flagged.sum(), 2 * wrong[flagged].sum()), rel=0.2)
    assert (dropped <= flagged).all()
    assert wrong[dropped].mean() >= wrong[flagged].mean()


def test_agreement_counts_the_pairs() -> None:
    votes = np.random.default_rng(0).integers(0, 3, (5, 40))
    plain = [np.mean([a == b for a, b in itertools.combinations(image, 2)]) for image in votes.T]
    np.testing.assert_allclose(pair_agreement(votes, 3), plain)


def test_the_share_of_wrong_labels_by_hand() -> None:
    """A network right on 9 of 10 images predicts a wrong label, one of nine classes, for 1 image in 90."""
    assert wrong_share(0.9, 0.9, 10) == 0
    assert wrong_share(0.9, 0.95, 10) == 0
    assert wrong_share(0.9, 0.9 * 0.8 + 0.2 * 0.1 / 9, 10) == pytest.approx(0.2)
    assert wrong_share(0.5, 0.0, 2) == 1


def test_precision_of_no_flags_is_unknown_and_null_in_json() -> None:
    truth, members = world(0.01, 2)
    assert np.isnan(flagged_precision(truth, members, np.zeros(N, bool), 0))
    noise = estimate_noise(truth, members)
    assert (noise.flagged, noise.to_dict()["precision"]) == (0, None)
    assert str(noise).endswith("; none are flagged")
