"""Confidence intervals of proportions and of means."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054  # the standard normal's 97.5% point


def wilson_interval(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, 95% for the default `z`; (0, 1) if n is 0.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    low, high = wilson_intervals(np.array([successes]), np.array([n]), z)
    return float(low[0]), float(high[0])


def wilson_intervals(successes: np.ndarray, n: np.ndarray, z: float = Z95) -> tuple[np.ndarray, np.ndarray]:
    """`wilson_interval` of many proportions: (M,) counts in, two (M,) float64 bounds out."""
    successes, n = np.asarray(successes), np.asarray(n)
    some = np.maximum(n, 1)
    p, z2 = successes / some, z * z
    middle = (p + z2 / (2 * some)) / (1 + z2 / some)
    half = z / (1 + z2 / some) * np.sqrt(p * (1 - p) / some + z2 / (4 * some * some))
    # for 0 and for n successes the bounds are exactly 0 and 1; the formula has a rounding error there
    return np.where(successes == 0, 0.0, middle - half), np.where(successes == n, 1.0, middle + half)


def describe(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """Mean, sample standard deviation, count, median, extremes, and Student's t-interval of the mean: `low`, `high`.

    values: two or more, independent of each other. The interval is not clipped, so for accuracies it may exceed 1.
    Source: Student 1908, "The probable error of a mean".
    """
    from scipy.special import stdtrit

    mean, deviation, count = statistics.fmean(values), statistics.stdev(values), len(values)
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * deviation / math.sqrt(count)
    return {
        "mean": mean,
        "standard_deviation": deviation,
        "count": count,
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "low": mean - half,
        "high": mean + half,
    }
