"""Intervals for what was counted."""

import numpy as np

Z95 = 1.959963984540054  # the standard normal's 97.5% point


def wilson_interval(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, 95% for the default `z`; (0, 1) where n is 0.

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
    # at none and at all the bounds are 0 and 1 exactly; the formula misses them by a rounding
    return np.where(successes == 0, 0.0, middle - half), np.where(successes == n, 1.0, middle + half)
