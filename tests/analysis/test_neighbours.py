"""The nearest neighbours, beside a slow search; features; thumbnails."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from misread.analysis import neighbours as module
from misread.analysis.neighbours import Neighbours, nearest

CPU = torch.device("cpu")


def slow_distances(queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.array([[np.sqrt(((q - p) ** 2).sum()) for p in points] for q in queries]).reshape(
        len(queries), len(points)
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 9), st.integers(1, 40), st.integers(1, 7), st.integers(1, 12), st.integers(1, 9),
    st.lists(st.integers(0, 40), max_size=4), st.integers(0, 10_000),
)  # fmt: skip
def test_the_nearest_are_those_of_a_slow_search_whatever_the_blocks(
    n_queries: int, n_points: int, width: int, k: int, block: int, cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    queries, points = rng.normal(size=(n_queries, width)), rng.normal(size=(n_points, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        whole = nearest(queries, points, k)
        in_blocks = nearest(queries, iter(np.split(points, sorted(c for c in cuts if c < n_points))), k)
    expected = slow_distances(queries, points)
    order = np.argsort(expected, axis=1)[:, :k]
    for found in (whole, in_blocks):
        assert found.positions.tolist() == order.tolist()
        assert found.distances == pytest.approx(np.take_along_axis(expected, order, axis=1), abs=1e-5)


def test_equal_points_are_each_found_once() -> None:
    found = nearest(np.zeros((1, 2), np.float32), np.zeros((5, 2), np.float32), 5)
    assert sorted(found.positions[0]) == [0, 1, 2, 3, 4]
    assert found.distances.tolist() == [[0, 0, 0, 0, 0]]


def test_an_image_is_not_its_own_neighbour() -> None:
    found = Neighbours(np.array([[3, 1, 2], [5, 0, 9]]), np.array([[0.0, 1, 2], [3, 4, 5]]))
    left = found.without(np.array([3, -1]))
    assert left.positions.tolist() == [[1, 2], [5, 0]]
    assert left.distances.tolist() == [[1, 2], [3, 4]]
