"""Planted blends and strange images, and how they are told from ordinary ones."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from misread.analysis.evidence import Evidence, Nearest
from misread.analysis.image_kinds import (
    BLENDS,
    STRANGE,
    _logistic_regression,
    measure_kinds,
    plant_blends,
    plant_strange,
)
from misread.analysis.neighbours import Neighbours
from samples import blocks


def made_up(seed: int, n: int, first: float, distance: float) -> Evidence:
    """Images of class 0 read with about this probability, at about this distance from training images of class 0."""
    rng = np.random.default_rng(seed)
    top = np.clip(first + rng.normal(size=n) / 20, 0.05, 0.99)
    probs = np.stack([top, (1 - top) * 0.8, (1 - top) * 0.2], axis=1).astype(np.float32)
    near = Neighbours(np.zeros((n, 5), np.int64), distance + rng.normal(size=(n, 5)) / 20)
    return Evidence(np.zeros(n, np.int64), probs, Nearest(near, near, np.zeros(1, np.int64)))


def test_kinds_are_told_by_evidence_that_was_not_planted() -> None:
    ordinary, blends, strange = made_up(0, 300, 0.95, 1.0), made_up(1, 200, 0.5, 1.1), made_up(2, 200, 0.7, 2.0)
    kinds = measure_kinds(ordinary, np.ones(300), blends, strange)
    assert kinds is not None
    as_blend, as_strange = (kinds.ratios(made_up(9, 50, *like)) for like in ((0.5, 1.1), (0.7, 2.0)))
    usual = kinds.ratios(made_up(9, 50, 0.95, 1.0))
    assert (np.median(usual, axis=0) < 0.1).all()
    assert np.median(as_blend[:, 0]) > 10 > np.median(as_blend[:, 1])
    assert np.median(as_strange[:, 1]) > 10 * np.median(as_strange[:, 0])


def test_too_few_ordinary_images_or_none_planted_tell_no_kinds() -> None:
    few, none = made_up(0, 49, 0.9, 1.0), made_up(0, 0, 0.9, 1.0)
    assert measure_kinds(few, np.ones(49), few, few) is None
    assert measure_kinds(made_up(0, 60, 0.9, 1.0), np.ones(60), none, few) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [3, 8, 30])
def test_planted_images_are_made_of_the_images(side: int, channels: int) -> None:
    images, labels = blocks(40, side=side, channels=channels)
    blends = plant_blends(images, labels, np.random.default_rng(0))
    pairs = [(i, j) for i in range(40) for j in range(40) if labels[i] != labels[j]]
    means = {((images[i].astype(int) + images[j]) // 2).astype(np.uint8).tobytes() for i, j in pairs}
    assert 10 < len(blends) <= BLENDS
    assert all(blend.tobytes() in means for blend in blends)
    strange = plant_strange(images, np.random.default_rng(0))
    assert 0 < len(strange) <= STRANGE
    pixels = {np.sort(image, axis=None).tobytes() for image in images}
    assert all(np.sort(image, axis=None).tobytes() in pixels for image in strange)
    assert sum(any((s == image).all() for image in images) for s in strange) <= len(strange) // 2
    assert len(plant_blends(images, np.zeros(40, np.int64), np.random.default_rng(0))) == 0


def test_the_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(300) % 3
    features = np.concatenate([rng.normal(size=(300, 4)) + kinds[:, None] * [1, 0, -1, 0.5], np.ones((300, 1))], axis=1)
    counted = rng.uniform(0.5, 1, 300)
    theirs = LogisticRegression(tol=1e-8, max_iter=1000).fit(features[:, :4], kinds, counted)
    ours = _logistic_regression(features, kinds, counted)
    assert ours[:, :4] == pytest.approx(theirs.coef_, abs=2e-2)
    gaps, expected = ours[:, 4] - ours[0, 4], theirs.intercept_ - theirs.intercept_[0]
    assert gaps == pytest.approx(expected, abs=2e-2)
