"""McNemar's test against SciPy's exact binomial test, the bootstrap against resampling image by image."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from misread.analysis.paired import bootstrap_difference, mcnemar_p


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
@example(0, 0)
@example(0, 1)
@example(7, 7)
@example(3000, 3150)
@example(0, 2000)
def test_p_is_scipys_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert mcnemar_p(first, second) == mcnemar_p(second, first)


def test_the_interval_is_that_of_resampling_image_by_image() -> None:
    n, only_first, only_second = 300, 9, 24
    outcome = np.array([-1] * only_first + [1] * only_second + [0] * (n - only_first - only_second))
    rng = np.random.default_rng(5)
    means = [outcome[rng.integers(0, n, n)].mean() for _ in range(10_000)]
    expected = np.quantile(means, [0.025, 0.975])
    low, high = bootstrap_difference(only_first, only_second, n)
    assert (low, high) == (pytest.approx(expected[0], abs=0.002), pytest.approx(expected[1], abs=0.002))
    difference = (only_second - only_first) / n
    deviation = np.sqrt(((only_first + only_second) / n - difference**2) / n)  # the normal approximation
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.06)


def test_the_interval_follows_its_seed_and_turns_with_the_order() -> None:
    assert bootstrap_difference(5, 9, 100) == bootstrap_difference(5, 9, 100)
    assert bootstrap_difference(5, 9, 100, 50, seed=1) != bootstrap_difference(5, 9, 100, 50, seed=2)
    low, high = bootstrap_difference(9, 5, 1000)
    assert (-high, -low) == pytest.approx(bootstrap_difference(5, 9, 1000), abs=0.001)
    assert bootstrap_difference(0, 0, 50) == (0, 0)


def test_ninety_five_percent_of_intervals_hold_the_true_difference() -> None:
    rng = np.random.default_rng(6)
    draws = rng.multinomial(1000, [0.03, 0.05, 0.92], size=400)
    intervals = [
        bootstrap_difference(int(a), int(b), 1000, resamples=1000, seed=i) for i, (a, b, _) in enumerate(draws)
    ]
    held = sum(low <= 0.02 <= high for low, high in intervals)
    assert 364 <= held <= 394  # 380 expected, three and a half standard deviations either way, a little less below
