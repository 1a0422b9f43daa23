import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from misread.data.splits import stratified_folds


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 200), st.integers(1, 6), st.integers(2, 7), st.integers(0, 99))
def test_folds_are_balanced_in_total_and_within_each_class(n: int, k: int, folds: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, k, n)
    folds_of = stratified_folds(labels, folds, seed)
    assert np.array_equal(folds_of, stratified_folds(labels, folds, seed))
    for chosen in (labels == labels, *(labels == c for c in range(k))):
        counts = np.bincount(folds_of[chosen], minlength=folds)
        assert len(counts) == folds
        assert counts.max() - counts.min() <= 1


def test_folds_depend_on_the_seed() -> None:
    labels = np.arange(1000) % 10
    first, other = stratified_folds(labels, 5, 0), stratified_folds(labels, 5, 1)
    assert 0.15 < (first == other).mean() < 0.25
