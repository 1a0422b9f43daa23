"""Error against coverage, against a plain loop."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from misread import Predictions
from misread.analysis.risk_coverage import COVERAGES, risk_coverage_curve, risk_coverage_table


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 5), st.integers(1, 30), st.integers(0, 1000))
def test_every_threshold_keeps_what_a_plain_loop_keeps(n: int, k: int, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(k), n)
    probs[:, 0] = np.round(probs[:, 0] * steps) / steps  # so that some confidences are equal
    labels = rng.integers(0, k, n)
    curve = risk_coverage_curve(labels, probs)
    assert curve["threshold"].tolist() == sorted({p.max() for p in probs}, reverse=True)
    for line in curve.itertuples():
        kept = [i for i in range(n) if probs[i].max() >= line.threshold]
        wrong = sum(probs[i].argmax() != labels[i] for i in kept)
        assert (line.n, line.left, line.misread) == (len(kept), n - len(kept), wrong)
        assert line.coverage == pytest.approx(len(kept) / n)
        assert line.error == pytest.approx(wrong / len(kept))
    table = risk_coverage_table(curve)
    assert table["asked"].tolist() == list(COVERAGES)
    for line in table.itertuples():
        assert line.coverage >= line.asked - 1e-12
        higher = curve[curve["threshold"] > line.threshold]
        assert (higher["coverage"] < line.asked - 1e-12).all()  # no higher threshold would do
    assert table.iloc[0]["n"] == n


def test_the_table_leaves_exactly_the_asked_share_where_confidences_differ() -> None:
    n = 1000
    confidence = np.linspace(0.51, 0.99, n)
    found = Predictions([0] * 990 + [1] * 10, np.stack([confidence, 1 - confidence], axis=1))
    table = found.risk_coverage().table
    assert table["left"].tolist() == [0, 5, 10, 20, 50, 100]
    assert table["misread"].tolist() == [10] * 6  # the planted mistakes are the most confident
    interval = binomtest(10, 900).proportion_ci(method="wilson")
    assert table.iloc[-1][["error_low", "error_high"]].tolist() == pytest.approx([interval.low, interval.high])


def test_where_confidence_tells_right_from_wrong_the_error_ends() -> None:
    probs = np.array([[0.9, 0.1]] * 95 + [[0.6, 0.4]] * 5)
    table = Predictions([0] * 95 + [1] * 5, probs).risk_coverage().table
    assert table["error"].tolist() == pytest.approx([0.05, 0.05, 0.05, 0.05, 0, 0])
    assert table["coverage"].tolist() == pytest.approx([1, 1, 1, 1, 0.95, 0.95])  # equal confidences go together


def test_no_images_and_json() -> None:
    assert Predictions([], np.empty((0, 3))).risk_coverage().table.empty
    read = json.loads(json.dumps(Predictions([0], [[0.7, 0.3]]).risk_coverage().to_dict(), allow_nan=False))
    assert [line["asked"] for line in read["table"]] == list(COVERAGES)
    assert read["table"][0]["misread"] == 0
