"""Sums of probabilities without rounding, so that partial sums can be merged in any order."""

from fractions import Fraction

import numpy as np

DIGITS = 24  # of a float32's significand
UNIT = 2**173  # a float32 is a whole number of 1 / UNIT: its smallest exponent is -148, and 24 digits follow


class ExactSums:
    """K sums of float32 numbers and how many there are of each. `a.merge(b)` adds the numbers of b to a."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros(classes, np.int64)
        self._units = [0] * classes  # each sum times UNIT

    def add(self, classes: np.ndarray, values: np.ndarray) -> None:
        """Add values (N,) float32 in [0, 1], each to the sum of its class (N,) int64."""
        significands, exponents = np.frexp(values.astype(np.float64))
        whole = np.ldexp(significands, DIGITS)  # below 2^24, so bincount's sums are exact up to 2^29 of them
        self.counts += np.bincount(classes, minlength=len(self.counts))
        for exponent in np.unique(exponents):
            of = exponents == exponent
            sums = np.bincount(classes[of], weights=whole[of], minlength=len(self.counts))
            scale = UNIT * Fraction(2) ** int(exponent - DIGITS)
            for k in np.flatnonzero(sums):
                self._units[k] += int(sums[k]) * int(scale)

    def merge(self, other: "ExactSums") -> None:
        self.counts += other.counts
        self._units = [a + b for a, b in zip(self._units, other._units, strict=True)]

    def rounded(self) -> np.ndarray:
        """(K,) float64, the nearest to each sum."""
        return np.array([units / UNIT for units in self._units])  # Python rounds the quotient of integers correctly
