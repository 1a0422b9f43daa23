"""Sums without rounding, against fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from misread.scale.exact_sums import ExactSums

PROBABILITIES = st.lists(st.floats(0, 1, width=32), max_size=40)


@given(PROBABILITIES, st.integers(0, 40))
def test_merged_sums_are_the_rounded_exact_sum(values: list[float], cut: int) -> None:
    array, classes = np.array(values, np.float32), np.zeros(len(values), np.int64)
    parts = []
    for part in (slice(cut), slice(cut, None)):
        parts.append(ExactSums(1))
        parts[-1].add(classes[part], array[part])
    parts[1].merge(parts[0])
    assert parts[1].counts.tolist() == [len(values)]
    assert parts[1].rounded()[0] == float(sum(map(Fraction, values))) == math.fsum(values)


@pytest.mark.parametrize("value", [2.0**-149, 2.0**-126, 1 - 2.0**-24, 1.0, 0.0])
def test_the_ends_of_float32_are_exact(value: float) -> None:
    sums = ExactSums(3)
    sums.add(np.array([1]), np.array([value], np.float32))
    assert sums.rounded().tolist() == [0.0, value, 0.0]
