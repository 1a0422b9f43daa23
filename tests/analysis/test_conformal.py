"""Prediction sets: the promise of coverage on data of all kinds, and a plain version of the method."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import beta, binom

from misread import DataError, Predictions
from misread.analysis.conformal import conformal_threshold, prediction_sets


def draw(n: int, seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A model that is wrong about its own certainty: the promise holds for any."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k))
    labels = (softmax(1.5 * logits, axis=1).cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return labels, softmax(6 * logits + rng.normal(size=(n, k)), axis=1).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.sampled_from([0.01, 0.05, 0.07, 0.1, 0.29, 0.5]), st.integers(0, 1000))
def test_the_threshold_is_that_of_the_method_as_it_is_written(n: int, error_level: float, seed: int) -> None:
    labels, probs = draw(n, seed)
    scores = sorted(1 - float(p[label]) for p, label in zip(probs, labels, strict=True))
    rank = math.ceil(round((n + 1) * (1 - error_level), 9))
    threshold = conformal_threshold(labels, probs, error_level)
    if rank > n:
        assert threshold == 0
        assert prediction_sets(probs, threshold).all()
    else:
        assert threshold == pytest.approx(1 - scores[rank - 1])


@pytest.mark.parametrize("error_level", [0.01, 0.1])
def test_sets_hold_the_label_as_often_as_promised(error_level: float) -> None:
    n = 2000
    fitted, measured = draw(n, seed=0), draw(200_000, seed=1)
    threshold = conformal_threshold(*fitted, error_level)
    held = prediction_sets(measured[1], threshold)[np.arange(200_000), measured[0]].mean()
    # over draws of the images fitted on, coverage is distributed like this (Vovk 2012, "Conditional validity")
    outside = math.floor((n + 1) * error_level)
    low, high = beta(n + 1 - outside, outside).ppf([1e-4, 1 - 1e-4])
    assert low - 0.002 < held < high + 0.002


def test_coverage_over_many_small_fits_is_within_binomial_bounds_of_the_promise() -> None:
    error_level, trials, hits = 0.2, 3000, 0
    labels, probs = draw(trials * 20, seed=2)
    for t in range(trials):
        at = slice(20 * t, 20 * t + 19)
        last = 20 * t + 19
        hits += bool(probs[last, labels[last]] >= conformal_threshold(labels[at], probs[at], error_level))
    low, high = binom(trials, 1 - error_level).ppf([1e-4, 1 - 1e-4])
    assert low <= hits <= high


def test_predictions_measure_their_sets_on_images_that_were_not_fitted_on() -> None:
    val, test = Predictions(*draw(1000, seed=3)), Predictions(*draw(3000, seed=4))
    found = test.conformal(0.05, calibration_set=val)
    sets = found.sets(test.probs)
    sizes = [int(s.sum()) for s in sets]
    held = [bool(s[label]) for s, label in zip(sets, test.labels, strict=True)]
    assert found.coverage == pytest.approx(sum(held) / 3000)
    assert found.coverage_low < 0.95 < found.coverage_high + 0.02
    assert found.mean_size == pytest.approx(sum(sizes) / 3000)
    assert list(found.sizes) == [sizes.count(s) for s in range(max(sizes) + 1)]
    halves = test.conformal(0.05)
    assert (halves.fitted_on, halves.measured_on) == ("one half of test", "the other half of test")
    assert halves.n_fitted + halves.n == 3000
    assert json.loads(json.dumps(found.to_dict()))["sizes"] == list(found.sizes)


def test_too_few_images_promise_nothing_and_say_how_many_it_takes() -> None:
    small = Predictions(*draw(98, seed=5)), Predictions(*draw(50, seed=6))
    found = small[1].conformal(0.01, calibration_set=small[0])
    assert (found.threshold, found.mean_size, found.needed) == (0, 5, 99)
    assert conformal_threshold(*draw(99, seed=5), 0.01) > 0


@pytest.mark.parametrize("error_level", [0, 1, -0.1, 1.5])
def test_an_error_level_is_a_share(error_level: float) -> None:
    with pytest.raises(DataError, match=f"The error level is {error_level:g}; it must lie between 0 and 1"):
        Predictions(*draw(50, seed=7)).conformal(error_level)


def test_images_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(DataError, match="2 images cannot be halved"):
        Predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]).conformal()
