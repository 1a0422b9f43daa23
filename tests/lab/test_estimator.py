"""`MisreadClassifier` keeps scikit-learn's contract, and trains what `misread.train` trains."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_dataframe_column_names_consistency

import misread
from misread import MisreadClassifier
from misread.errors import ArrayError
from misread.training.callbacks import Callback
from misread.training.events import EpochEnded
from samples import blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

CHECKS = 50  # at least; scikit-learn 1.9.1 has 55 for a classifier of this kind
CHECK = """
import json
import warnings
from sklearn.utils.estimator_checks import check_estimator
from misread import MisreadClassifier

warnings.simplefilter("error")  # only now, since what other packages say when they are imported is no check
keys = ("check_name", "status", "exception")
results = check_estimator(MisreadClassifier(), on_fail=None)
print(json.dumps([{key: str(result[key]) for key in keys} for result in results]))
"""
QUICK = MisreadClassifier("fast-mlp", settings={"epochs": 12})


def test_every_check_of_scikit_learn_passes_and_none_is_skipped() -> None:
    """In a process of its own, because one check is skipped unless this variable is set before SciPy is imported."""
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", CHECK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [result for result in results if result["status"] != "passed"] == []
    assert len(results) >= CHECKS


def test_no_tag_of_the_estimator_turns_checks_off() -> None:
    tags, plain = MisreadClassifier().__sklearn_tags__(), LogisticRegression().__sklearn_tags__()
    assert tags.input_tags.two_d_array
    assert tags.target_tags == plain.target_tags
    assert tags.classifier_tags == plain.classifier_tags
    for name in ("no_validation", "non_deterministic", "requires_fit", "_skip_test"):
        assert getattr(tags, name) == getattr(plain, name)


def test_names_of_columns_are_checked() -> None:
    check_dataframe_column_names_consistency("MisreadClassifier", QUICK)


@pytest.mark.parametrize("recipe", ["fast", "fast-mlp"])
def test_the_same_seed_gives_the_weights_of_train_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    data = misread.load("digits")
    run = misread.train(data, recipe, seed=3, epochs=1, out=tmp_path, progress=False)
    classifier = MisreadClassifier(recipe, settings={"epochs": 1}, random_state=3)
    classifier.fit(data.train.images, data.train.labels)
    np.testing.assert_array_equal(classifier.predict_proba(data.test.images), run.predictions().probs)
    assert classifier.recipe_ == run.recipe
    own, of_run = classifier.history_.drop(columns="seconds"), run.history.drop(columns="seconds")
    pd.testing.assert_frame_equal(pd.DataFrame(own), pd.DataFrame(of_run), check_exact=False, rtol=1e-6)
    rows = data.test.images.reshape(len(data.test), -1)
    np.testing.assert_array_equal(classifier.predict_proba(rows), run.predictions().probs)


def test_a_recipe_that_shows_the_test_split_trains_on_all_images(tmp_path: Path) -> None:
    data = misread.load("digits")
    run = misread.train(data, "tutorial-mlp", epochs=1, out=tmp_path, progress=False)
    classifier = MisreadClassifier("tutorial-mlp", settings={"epochs": 1})
    classifier.fit(data.train.images, data.train.labels)
    np.testing.assert_array_equal(classifier.predict_proba(data.test.images), run.predictions().probs)
    classifier.fit(data.train.images, data.train.labels, X_val=data.test.images, y_val=data.test.labels)
    assert classifier.history_["val_accuracy"].iloc[-1] == pytest.approx(run.history["val_accuracy"].iloc[-1])


def test_pictures_as_numbers_of_other_kinds_train_the_same_network() -> None:
    images, labels = blocks(160, side=8)
    images[0, 0, 0], images[1, 0, 0] = 0, 255
    expected = clone(QUICK).fit(images, labels).predict_proba(images)
    rows = images.reshape(160, 64)
    for same in (
        images[..., 0],
        rows,
        rows.astype(np.int64),
        rows.astype(float),
        rows / 255,
        rows.tolist(),
        pd.DataFrame(rows),
    ):
        classifier = clone(QUICK).fit(same, labels)
        assert classifier.image_shape_ == (8, 8, 1)
        assert classifier.n_features_in_ == 64
        np.testing.assert_array_equal(classifier.predict_proba(same), expected)


def test_labels_may_be_strings() -> None:
    images, labels = blocks(160)
    names = np.array(["north-west", "north-east", "south-west", "south-east"])[labels]
    classifier = clone(QUICK).fit(images, names)
    assert list(classifier.classes_) == sorted(set(names))
    assert (classifier.predict(images) == names).mean() > 0.95


def test_composes_with_the_tools_of_scikit_learn() -> None:
    X, y = load_digits(return_X_y=True)
    X, y = X[:500], y[:500]
    plain = MisreadClassifier(settings={"epochs": 30})
    assert cross_val_score(make_pipeline(MinMaxScaler(), plain), X, y, cv=2).mean() > 0.85
    assert cross_val_score(plain, X.reshape(-1, 8, 8), y, cv=2).mean() > 0.85
    search = GridSearchCV(plain, {"settings": [{"epochs": 1}, {"epochs": 30}], "random_state": [0]}, cv=2).fit(X, y)
    assert search.best_params_["settings"] == {"epochs": 30}
    calibrated = CalibratedClassifierCV(plain, cv=2).fit(X[:400], y[:400])
    assert calibrated.score(X[400:], y[400:]) > 0.85


def test_pickles_and_clones() -> None:
    images, labels = blocks(160)
    fitted = MisreadClassifier("fast-mlp", settings={"epochs": 4, "members": 2}, callbacks=[Callback()]).fit(
        images, labels
    )
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))
    assert again.history_.equals(fitted.history_)
    fresh = clone(fitted)
    assert not hasattr(fresh, "classes_")
    assert fresh.get_params()["settings"] == {"epochs": 4, "members": 2}


def test_callbacks_are_called_and_a_random_state_draws_seeds() -> None:
    class Epochs(Callback):
        def __init__(self) -> None:
            self.seen: list[int] = []

        def on_epoch_end(self, event: EpochEnded) -> None:
            self.seen.append(event.row["epoch"])

    images, labels = blocks(160)
    epochs, random = Epochs(), np.random.RandomState(0)
    seeds = [
        MisreadClassifier("fast-mlp", settings={"epochs": 2}, random_state=random, callbacks=[epochs])
        .fit(images, labels)
        .recipe_.seed
        for _ in range(2)
    ]
    assert epochs.seen == [1, 2, 1, 2]
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("image_shape", [None, (1, 2, 1)])
def test_features_of_different_size_count_the_same(image_shape: Any) -> None:
    """The second feature decides, and the first is a million times as large."""
    X = np.random.default_rng(0).normal(size=(400, 2)) * [1e6, 1] + [5e6, 0]
    y = X[:, 1] > 0
    classifier = MisreadClassifier(image_shape=image_shape).fit(X[:300], y[:300])
    assert classifier.image_shape_ == (1, 2, 1)
    assert classifier.score(X[300:], y[300:]) > 0.9


@pytest.mark.parametrize(
    ("image_shape", "X", "message"),
    [
        ((5, 5), np.zeros((4, 16)), r"image_shape \(5, 5\) has 25 numbers an image, but X has 16 in each row"),
        ((16,), np.zeros((4, 16)), r"image_shape is \(16,\), but must be \(H, W\), \(H, W, 1\) or \(H, W, 3\)"),
        ((2, 8), np.zeros((4, 4, 4)), r"The images of X have the shape \(4, 4\), but must have \(2, 8, 1\)"),
        (None, np.zeros((4, 4, 4, 2)), r"image_shape is \(4, 4, 2\), but must be"),
    ],
)
def test_a_shape_that_does_not_fit_is_an_error(image_shape: Any, X: np.ndarray, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        MisreadClassifier(image_shape=image_shape).fit(X, [0, 1, 0, 1])


def test_errors_name_what_is_wrong() -> None:
    images, labels = blocks(40)
    with pytest.raises(ValueError, match="y has one class, 3"):
        clone(QUICK).fit(images, np.full(40, 3))
    with pytest.raises(ArrayError, match="y_val has 9 at row 1, which is not a class of y"):
        clone(QUICK).fit(images, labels, X_val=images[:2], y_val=[0, 9])
    with pytest.raises(ArrayError, match=r"X_val has 2 images, but y_val has the shape \(1,\)"):
        clone(QUICK).fit(images, labels, X_val=images[:2], y_val=[0])
    fitted = clone(QUICK).fit(images, labels)
    with pytest.raises(ArrayError, match=r"shape \(4, 16\), but must have \(8, 8, 1\)"):
        fitted.predict(images.reshape(40, 4, 16))


def test_predictions_of_another_classifier_are_those_that_it_makes() -> None:
    X, y = load_digits(return_X_y=True)
    other = LogisticRegression(max_iter=200).fit(X[:1000] / 16, y[:1000])
    found = misread.Predictions.from_estimator(other, X[1000:] / 16, y[1000:])
    assert found.metrics()["misread"] == int((other.predict(X[1000:] / 16) != y[1000:]).sum())
    table = found.misreads.table
    row = int(table["index"].iloc[0])
    assert str(y[1000 + row]) == table["label"].iloc[0]
    np.testing.assert_array_equal(found.images[row, :, :, 0], np.rint(X[1000 + row] * 255 / 16).reshape(8, 8))
    assert found.name == "LogisticRegression"


def test_predictions_of_this_classifier_know_its_images_and_its_names(tmp_path: Path) -> None:
    images, labels = blocks(200, side=4)
    names = np.array(list("abcd"))[labels]
    classifier = MisreadClassifier("fast-mlp", settings={"epochs": 1}, image_shape=(4, 4)).fit(
        images.reshape(200, 16), names
    )
    found = misread.Predictions.from_estimator(classifier, images.reshape(200, 16), names)
    np.testing.assert_array_equal(found.images, images)
    assert found.class_names == ("a", "b", "c", "d")
    assert found.report(tmp_path / "report.html").is_file()


def test_predictions_of_features_have_no_images() -> None:
    X = np.random.default_rng(0).normal(size=(90, 5))
    y = (X[:, 0] > 0).astype(int)
    found = misread.Predictions.from_estimator(LogisticRegression().fit(X, y), X, y)
    assert not found.has_images
    assert len(found.misreads) == found.metrics()["misread"]


def test_a_classifier_without_probabilities_is_an_error() -> None:
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    with pytest.raises(misread.DataError, match="LinearSVC has no predict_proba. Wrap it"):
        misread.Predictions.from_estimator(LinearSVC().fit(X, y), X, y)
