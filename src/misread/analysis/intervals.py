"""Intervals for what was counted, and for means."""

import math
import statistics
from collections.abc import Sequence


def wilson_interval(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson score interval of a proportion, 95% for the default `z`; (0, 1) where n is 0.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if n == 0:
        return 0.0, 1.0
    p, z2 = successes / n, z * z
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # at none and at all the bounds are 0 and 1 exactly; the formula misses them by a rounding
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def describe(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """Mean, sample standard deviation, count, median, extremes, and Student's t-interval of the mean: `low`, `high`.

    values: two or more, drawn independently of each other. The interval is not cut to what values can be, so that of
    accuracies may go beyond 1.
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
