"""Calibration against hand-made cases, plain loops, SciPy's optimiser, and data that is calibrated by construction."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from misread import DataError, Predictions
from misread.analysis.calibration import expected_calibration_error, reliability_table
from misread.analysis.temperature import HIGHEST, LOWEST, apply_temperature, fit_temperature


def calibrated(n: int, k: int, seed: int, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the very probabilities that are given."""
    rng = np.random.default_rng(seed)
    probs = softmax(spread * rng.normal(size=(n, k)), axis=1)
    labels = (probs.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return labels, probs


def slow_ece(labels: np.ndarray, probs: np.ndarray, bins: int) -> float:
    total = 0.0
    for m in range(bins):
        inside = [i for i in range(len(labels)) if m / bins < probs[i].max() <= (m + 1) / bins]
        if inside:
            accuracy = sum(probs[i].argmax() == labels[i] for i in inside) / len(inside)
            confidence = sum(float(probs[i].max()) for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(1, 20), st.integers(0, 1000))
def test_ece_is_that_of_a_plain_loop(n: int, k: int, bins: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, probs = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n)
    assert expected_calibration_error(labels, probs, bins) == pytest.approx(slow_ece(labels, probs, bins), abs=1e-12)


def test_ece_of_a_case_worked_out_by_hand() -> None:
    # ten images at 0.9, of which eight are right; ten at 0.6, of which seven are
    probs = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    assert expected_calibration_error(labels, probs) == pytest.approx(0.5 * 0.1 + 0.5 * 0.1)


def test_a_confidence_on_a_bins_upper_edge_belongs_to_it_and_bins_without_images_are_undefined() -> None:
    table = reliability_table(np.array([0, 0]), np.array([[0.5, 0.5], [1.0, 0.0]]), bins=4)
    assert table["n"].tolist() == [0, 1, 0, 1]
    assert table["high"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert np.isnan(table["accuracy"][0])
    assert (table["accuracy_low"][0], table["accuracy_high"][0]) == (0.0, 1.0)


def test_ece_of_calibrated_predictions_goes_to_zero_as_images_grow() -> None:
    small, large = (expected_calibration_error(*calibrated(n, 10, seed=0)) for n in (500, 200_000))
    assert large < 0.005 < small
    labels, probs = calibrated(200_000, 10, seed=1)
    assert fit_temperature(labels, probs) == pytest.approx(1.0, abs=0.01)
    table = reliability_table(labels, probs)
    table = table[table["n"] > 0]
    inside = (table["accuracy_low"] <= table["confidence"]) & (table["confidence"] <= table["accuracy_high"])
    assert inside.sum() >= len(table) - 2  # 95% of some 14 intervals


@pytest.mark.parametrize("planted", [0.3, 0.7, 1.0, 1.8, 4.0])
def test_a_planted_temperature_is_found_and_undone(planted: float) -> None:
    labels, probs = calibrated(40_000, 5, seed=2)
    too_hot = softmax(np.log(probs) * planted, axis=1)  # over-confident where planted > 1
    found = fit_temperature(labels, too_hot.astype(np.float32))
    assert found == pytest.approx(planted, rel=0.03)
    np.testing.assert_allclose(apply_temperature(too_hot, planted), probs, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(2, 6), st.floats(0.2, 12), st.integers(0, 1000))
def test_the_temperature_is_where_scipy_finds_the_least_loss(n: int, k: int, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(n, k))
    labels = np.where(rng.random(n) < 0.6, logits.argmax(axis=1), rng.integers(0, k, n))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(n), labels].mean())

    scipys = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    ours = fit_temperature(labels, softmax(logits, axis=1))
    assert LOWEST * 0.999 <= ours <= HIGHEST * 1.001
    assert loss(np.log(ours)) <= scipys.fun + 1e-6


def test_the_search_ends_at_its_bounds_where_there_is_no_least_loss() -> None:
    probs = np.array([[0.9, 0.1], [0.8, 0.2]])
    assert fit_temperature(np.array([0, 0]), probs) == LOWEST  # all right: the surer the better
    assert fit_temperature(np.array([1, 1]), probs) == HIGHEST  # all wrong
    certain = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert 1 < fit_temperature(np.array([0, 1, 1]), certain) <= HIGHEST  # probabilities of 0 are no infinities


def test_a_temperature_changes_no_predicted_class() -> None:
    labels, probs = calibrated(500, 4, seed=3)
    found = Predictions(labels, probs)
    for temperature in (0.5, 3.0):
        assert found.with_temperature(temperature).predicted.tolist() == found.predicted.tolist()


def overconfident(n: int, seed: int) -> Predictions:
    labels, probs = calibrated(n, 6, seed)
    return Predictions(labels, softmax(np.log(probs) * 2, axis=1))


def cross_entropy(labels: np.ndarray, probs: np.ndarray) -> float:
    exact = probs.astype(float)
    return float(log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=range(probs.shape[1])))


def test_fitted_on_validation_it_is_measured_on_all_images() -> None:
    val, test = overconfident(3000, seed=4), overconfident(5000, seed=5)
    found = test.calibration(calibration_set=val)
    s = found.scaling
    assert s is not None
    assert (s.n_fitted, s.n) == (3000, 5000)
    assert s.temperature == fit_temperature(val.labels, val.probs)
    assert s.ece_before == found.ece > 5 * s.ece_after
    after = apply_temperature(test.probs, s.temperature)
    assert s.ece_after == pytest.approx(slow_ece(test.labels, after, 15), abs=1e-9)
    assert s.loss_before == pytest.approx(cross_entropy(test.labels, test.probs), rel=1e-4)
    assert s.loss_after == pytest.approx(cross_entropy(test.labels, after), rel=1e-4)


def test_without_validation_one_half_is_fitted_on_and_the_other_measured_and_it_says_so() -> None:
    found = overconfident(4000, seed=6)
    s = found.calibration().scaling
    assert s is not None
    assert (s.fitted_on, s.measured_on) == ("one half of test", "the other half of test")
    assert s.n_fitted + s.n == 4000
    first, second = found.split_halves()
    assert s.temperature == fit_temperature(first.labels, first.probs)
    assert s.ece_before == expected_calibration_error(second.labels, second.probs)
    assert not set(first.rows) & set(second.rows)
    assert "one half of test" in repr(found.calibration())


def test_what_is_measured_is_never_what_was_fitted_on() -> None:
    found = overconfident(100, seed=7)
    copy = Predictions(found.labels, found.probs)
    with pytest.raises(DataError, match="(?s)The calibration set is the images to measure: .*one half is fitted on"):
        found.calibration(calibration_set=copy)
    other = Predictions(found.labels, found.probs, class_names="abcdef")
    with pytest.raises(
        DataError, match=r"The calibration set has the classes a, b, .*; the images to measure have 0, 1"
    ):
        found.calibration(calibration_set=other)


def test_too_few_images_to_halve_have_no_temperature() -> None:
    found = Predictions([0, 1], [[0.9, 0.1], [0.2, 0.8]]).calibration()
    assert found.scaling is None
    assert found.ece == pytest.approx(0.15)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["scaling"] is None
    with pytest.raises(DataError, match="There are no images"):
        Predictions([], np.empty((0, 2))).calibration()


def test_a_temperature_that_the_images_do_not_determine_is_said_to_be_at_its_bound() -> None:
    right = Predictions([0, 1] * 5, [[0.9, 0.1], [0.2, 0.8]] * 5)
    scaling = right.calibration().scaling
    assert scaling is not None
    assert scaling.at_bound
    assert scaling.to_dict()["at_bound"] is True


def test_calibration_goes_into_json_with_its_bins() -> None:
    read = json.loads(json.dumps(overconfident(400, seed=8).calibration().to_dict(), allow_nan=False))
    assert read["n_bins"] == len(read["bins"]) == len(read["scaling"]["bins"]) == 15
    assert read["bins"][0] == {
        "low": 0.0, "high": pytest.approx(1 / 15), "n": 0, "confidence": None, "accuracy": None,
        "accuracy_low": 0.0, "accuracy_high": 1.0,
    }  # fmt: skip
    assert read["scaling"]["at_bound"] is False
