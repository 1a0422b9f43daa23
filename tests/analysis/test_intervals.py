"""Intervals against a printed t table, SciPy's own distribution, and repeated draws."""

import numpy as np
import pytest
from scipy import stats

from misread.analysis.intervals import describe

# two-sided 95% points of Student's t, as printed in the tables of textbooks
T_TABLE = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 29: 2.045}


@pytest.mark.parametrize("freedom", T_TABLE)
def test_the_interval_of_a_mean_follows_the_printed_t_table(freedom: int) -> None:
    values = [float(v) for v in range(freedom + 1)]
    told = describe(values)
    error = np.std(values, ddof=1) / np.sqrt(freedom + 1)
    assert (told["high"] - told["mean"]) / error == pytest.approx(T_TABLE[freedom], abs=0.0006)
    assert told["mean"] - told["low"] == pytest.approx(told["high"] - told["mean"])


def test_a_description_agrees_with_numpy_and_scipy() -> None:
    values = np.random.default_rng(0).normal(0.98, 0.001, 7)
    told = describe(values.tolist(), confidence=0.9)
    low, high = stats.t.interval(0.9, 6, loc=values.mean(), scale=stats.sem(values))
    assert told == pytest.approx({
        "mean": values.mean(), "standard_deviation": values.std(ddof=1), "count": 7, "median": np.median(values),
        "min": values.min(), "max": values.max(), "low": low, "high": high,
    })  # fmt: skip


def test_equal_values_have_an_interval_of_no_width() -> None:
    told = describe([3, 3])
    assert (told["standard_deviation"], told["low"], told["high"]) == (0, 3, 3)


def test_the_interval_holds_the_true_mean_about_19_times_in_20() -> None:
    draws = np.random.default_rng(1).normal(5, 2, (2000, 4))
    told = [describe(row.tolist()) for row in draws]
    held = np.mean([t["low"] <= 5 <= t["high"] for t in told])
    assert held == pytest.approx(0.95, abs=0.015)  # three standard errors of a share of 2,000
