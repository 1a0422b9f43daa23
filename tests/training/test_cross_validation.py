"""Whoever predicts an image never saw it, its exact copies, or anything that its label decided."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from misread.analysis import label_noise
from misread.data.image_set import Split
from misread.data.splits import stratified_folds
from misread.errors import DataError
from misread.training import cross_validation
from misread.training.batches import Examples
from misread.training.cross_validation import FoldCallback, FoldDone, predict_folds
from misread.training.losses import resolve_loss
from misread.training.recipe import Recipe, load_recipe
from samples import blocks

CPU = torch.device("cpu")


def recipe(*settings: str) -> Recipe:
    layers = 'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]'
    made = load_recipe("tutorial-mlp", [layers, "epochs=3", "batch_size=32", "optimizer.learning_rate=0.01", *settings])
    return made.model_copy(update={"loss": resolve_loss(made.loss, one_hot=False)})


def as_split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(images, labels, np.arange(len(labels)))


def with_copies() -> Split:
    """120 images, of which every fourth is there twice and one five times."""
    images, labels = blocks(120)
    extra = np.array([*range(0, 120, 4), 7, 7, 7, 7])
    return as_split(np.concatenate([images, images[extra]]), np.concatenate([labels, labels[extra]]))


class Folds(FoldCallback):
    def __init__(self) -> None:
        self.done: list[FoldDone] = []

    def on_fold_end(self, fold: FoldDone) -> None:
        self.done.append(fold)


def probs_of(pool: Split, folds_of: np.ndarray, *settings: str, looks_wrong: Any = None) -> np.ndarray:
    folds, trained = int(folds_of.max()) + 1, Folds()
    probs = predict_folds(pool, folds_of, recipe(*settings), 4, CPU, looks_wrong, [trained])
    assert len(trained.done) == folds + ({3: 3, 4: 6, 6: 6}[folds] if looks_wrong else 0)
    return probs


def contents(images: Any) -> set[bytes]:
    return {np.asarray(image).tobytes() for image in images}


class Spy:
    """Notes what each network was shown in training, and what it was then asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[set[bytes]] = []
        self.asked: list[set[bytes]] = []
        fit_members, probs_by = cross_validation.fit_members, cross_validation.Predictor.probs

        def spying_fit(make: Any, made: Recipe, train: Examples, val: Examples, *rest: Any) -> Any:
            decides = made.early_stopping or made.target_accuracy  # else validation has no influence
            shown = (train, val) if decides else (train,)
            self.shown.append(contents(image for part in shown for image in part.images[part.rows]))
            return fit_members(make, made, train, val, *rest)

        def spying_probs(predictor: Any, images: np.ndarray) -> np.ndarray:
            self.asked.append(contents(images))  # of the network that was trained last
            return probs_by(predictor, images)

        monkeypatch.setattr(cross_validation, "fit_members", spying_fit)
        monkeypatch.setattr(cross_validation.Predictor, "probs", spying_probs)


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("early_stopping.patience=1", "validation.name=carve"),
        ("target_accuracy=0.5", "validation.name=carve"),
        ("members=2",),
    ],
)
def test_no_network_predicts_an_image_that_it_trained_on(
    settings: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, spy = with_copies(), Spy(monkeypatch)
    folds_of = stratified_folds(pool.labels, 3, seed=0)
    probs = probs_of(pool, folds_of, *settings)
    assert len(spy.shown) == len(spy.asked) == 3
    for shown, asked in zip(spy.shown, spy.asked, strict=True):
        assert shown == contents(pool.images) - asked  # all the others, and none of its own
    assert set().union(*spy.asked) == contents(pool.images)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_no_network_predicts_an_image_that_it_trained_on_with_filtering(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, spy = with_copies(), Spy(monkeypatch)
    probs_of(pool, stratified_folds(pool.labels, 6, seed=0), looks_wrong=lambda labels, *_: np.arange(len(labels)) < 9)
    assert len(spy.shown) == 12
    for number, (shown, asked) in enumerate(zip(spy.shown, spy.asked, strict=True)):
        assert not shown & asked
        if number < 6:  # of the filter
            assert shown == contents(pool.images) - asked


@pytest.mark.parametrize("folds", range(3, 13))
def test_every_two_folds_are_held_out_together_by_a_network_of_the_filter(folds: int) -> None:
    networks = cross_validation.filter_networks(folds)
    assert {pair for own in networks for pair in itertools.combinations(sorted(own), 2)} == {
        *itertools.combinations(range(folds), 2)
    }
    assert len(networks) == (3 if folds == 3 else 6)
    assert all(len(set(own)) == len(own) <= 2 * -(-folds // min(folds, 4)) < folds for own in networks)


def test_images_in_no_fold_only_train(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, spy = with_copies(), Spy(monkeypatch)
    folds_of = np.repeat([-1, 0], [100, 54])
    probs = probs_of(pool, folds_of)
    assert spy.asked == [contents(pool.images[100:])]
    assert spy.shown == [contents(pool.images[:100]) - contents(pool.images[100:])]
    assert not probs[:100].any()


@pytest.mark.parametrize("folds", [4, 6])
def test_labels_of_a_fold_do_not_influence_its_probabilities_even_with_filtering(folds: int) -> None:
    """All labels of a fold exchanged: what is flagged elsewhere changes with them, its own probabilities do not."""
    images, labels = blocks(160)
    labels[:20] = (labels[:20] + 1) % 4
    folds_of = stratified_folds(labels, folds, seed=0)
    before = probs_of(as_split(images, labels), folds_of, looks_wrong=label_noise.looks_wrong)
    for fold in range(0, folds, 2):
        changed = np.where(folds_of == fold, (labels + 2) % 4, labels)
        after = probs_of(as_split(images, changed), folds_of, looks_wrong=label_noise.looks_wrong)
        np.testing.assert_array_equal(after[folds_of == fold], before[folds_of == fold])
        assert not np.allclose(after[folds_of != fold], before[folds_of != fold], atol=1e-2)


def test_images_with_labels_that_look_wrong_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = blocks(120)
    pool, spy = as_split(images, labels), Spy(monkeypatch)
    marked = np.arange(120) % 10 == 0
    labels[marked] = 3
    told: list[tuple[np.ndarray, np.ndarray, Sequence[np.ndarray]]] = []

    def looks_wrong(of_labels: np.ndarray, probs: np.ndarray, of_fold: Sequence[np.ndarray]) -> np.ndarray:
        told.append((of_labels, probs, of_fold))
        wrong = np.zeros(len(of_labels), bool)
        wrong[:5] = True
        return wrong

    folds_of = stratified_folds(labels, 3, seed=1)
    probs_of(pool, folds_of, looks_wrong=looks_wrong)
    for fold, (of_labels, probs, of_fold) in enumerate(told):
        others = np.flatnonzero(folds_of != fold)
        np.testing.assert_array_equal(of_labels, labels[others])
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
        assert spy.shown[3 + fold] == contents(images[others[5:]])
        assert [p.shape for p in of_fold] == [(40, 4)] * 2  # by the two networks that trained on a third fold
        assert all(np.abs(p.sum(axis=1) - 1).max() < 1e-5 for p in of_fold)


def test_nothing_left_to_train_on_is_refused() -> None:
    pool = as_split(np.zeros((8, 4, 4, 1), np.uint8), np.arange(8) % 4)
    with pytest.raises(DataError, match="No image is left to train on when 4 and their exact copies are held out"):
        probs_of(pool, np.arange(8) % 2)
    few = as_split(*blocks(4))
    with pytest.raises(DataError, match="2 training images are too few to carve validation images for early stopping"):
        probs_of(few, np.arange(4) % 2, "early_stopping.patience=1", "validation.name=carve")


def test_a_target_accuracy_also_ends_the_trainings_of_folds() -> None:
    pool = as_split(*blocks(160))

    class Epochs(FoldCallback):
        def __init__(self) -> None:
            self.counts = [0]

        def on_epoch_end(self, event: Any) -> None:
            self.counts[-1] += 1

        def on_fold_end(self, fold: FoldDone) -> None:
            self.counts.append(0)

    epochs = Epochs()
    settings = ("target_accuracy=0.9", "validation.name=carve", "epochs=50")
    predict_folds(pool, stratified_folds(pool.labels, 2, seed=0), recipe(*settings), 4, CPU, callbacks=[epochs])
    assert all(0 < count < 50 for count in epochs.counts[:-1])
