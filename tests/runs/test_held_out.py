"""Held-out predictions: by networks that never saw the image, kept whole or not at all."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from conftest import blocks
from misread import ImageSet
from misread.analysis.label_issues import flagged_issues
from misread.data.image_hash import image_hash
from misread.errors import DataError, RecipeError, TrainingError
from misread.progress import FoldListener
from misread.runs.held_out import HeldOut, cross_validate
from misread.runs.train import train
from misread.training import cross_validation
from misread.training.fit import Examples

LAYERS = 'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]'
FEW = [LAYERS, "epochs=3", "batch_size=32", "optimizer.learning_rate=0.01"]


def held_out(data: Any, more: tuple[str, ...] = (), **settings: Any) -> HeldOut:
    settings = {"folds": 3, "progress": False, **settings}
    return cross_validate(data, "tutorial-mlp", settings=[*FEW, *more], **settings)


def with_copies() -> ImageSet:
    """Train of 120 images, of which every fourth is there twice and one five times; test has a copy of one of train."""
    images, labels = blocks(120)
    extra = np.array([*range(0, 120, 4), 7, 7, 7, 7])
    test_images, test_labels = blocks(40, seed=1)
    return ImageSet.from_arrays(
        np.concatenate([images, images[extra]]), np.concatenate([labels, labels[extra]]),
        test=(np.concatenate([test_images, images[3:4]]), np.concatenate([test_labels, labels[3:4]])),
    )  # fmt: skip


class Spy:
    """Notes what each network was shown in training, validation included, and what it was then asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[set[bytes]] = []
        self.asked: list[set[bytes]] = []
        fit_members, predict_probs = cross_validation.fit_members, cross_validation.predict_probs

        def spying_fit(networks: Any, recipe: Any, train: Examples, val: Examples, n_classes: int) -> Any:
            shown = (train, val) if recipe.early_stopping else (train,)  # without it nothing comes of validation
            self.shown.append({i.numpy().tobytes() for part in shown for i in part.images})
            return fit_members(networks, recipe, train, val, n_classes)

        def spying_predict(network: torch.nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
            self.asked.append(contents(images))  # of the network that was trained last
            return predict_probs(network, images, device)

        monkeypatch.setattr(cross_validation, "fit_members", spying_fit)
        monkeypatch.setattr(cross_validation, "predict_probs", spying_predict)


def contents(images: Any) -> set[bytes]:
    return {i.tobytes() for i in images}


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize("more", [(), ("early_stopping.patience=1", "validation.name=carve"), ("members=2",)])
def test_no_network_is_asked_for_an_image_that_it_was_shown(
    split: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, data = Spy(monkeypatch), with_copies()
    result = held_out(data, more, split=split, rounds=3)
    pool = {"train": [data.train], "test": [data.train, data.test], "all": [data.train, data.test]}[split]
    everything = set().union(*(contents(part.images) for part in pool))
    assert len(spy.shown) == len(spy.asked) == (1 if split == "test" else 9)
    for number, (shown, asked) in enumerate(zip(spy.shown, spy.asked, strict=True)):
        assert not shown & asked
        if number < 3:  # and in the first round all the others
            assert shown == (everything if split != "test" else contents(data.train.images)) - asked
    for start in range(0, len(spy.asked), 3):
        held = [data.test] if split == "test" else pool
        assert set().union(*spy.asked[start : start + 3]) == set().union(*(contents(p.images) for p in held))
    assert len(result.predictions) == {"train": 154, "test": 41, "all": 195}[split]
    np.testing.assert_allclose(result.predictions.probs.sum(axis=1), 1, atol=1e-5)


def test_noise_that_can_be_memorised_is_read_by_chance_where_it_was_held_out() -> None:
    """Each noise image is there twice, in a random class: a network that saw it, or its copy, would know it."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 8, 8), dtype=np.uint8), rng.integers(0, 4, 100)
    data = ImageSet.from_arrays(np.tile(images, (2, 1, 1)), np.tile(labels, 2), test=(images[:8], labels[:8]))
    memorise = ["epochs=60", "optimizer.name=adam", "optimizer.learning_rate=0.01", "batch_size=32", LAYERS]
    run = train(data, settings=memorise, progress=False)
    assert run.evaluate(split="train")["accuracy"] > 0.95  # those it trained on it knows by heart
    assert run.metrics["test"]["accuracy"] == 1.0  # and their copies too
    held = cross_validate(data, "tutorial-mlp", settings=memorise, progress=False, split="train")
    assert held.record.metrics["accuracy"] < 0.4  # chance is 0.25, with a standard error of 0.043


def test_probabilities_are_those_of_a_training_on_the_other_folds_and_later_of_what_is_not_flagged() -> None:
    """A plain version: for each fold a training by `train` on what may train, and its predictions of the fold."""
    images, labels = blocks(240)
    truth = labels.copy()
    labels[:30] = (labels[:30] + 1) % 4
    data = ImageSet.from_arrays(images, labels, test=blocks(8, seed=1))
    more = ("epochs=12", "validation.name=show-test")
    result = held_out(data, more, folds=2, rounds=3, seed=4)
    rounds, trains = [], np.ones(240, bool)
    for number in range(3):
        probs = np.zeros((240, 4))
        for fold in range(2):
            held = np.flatnonzero(result.folds_of[number] == fold)
            kept = np.setdiff1d(np.flatnonzero(trains), held)
            part = ImageSet.from_arrays(images[kept], labels[kept], test=(images[held], labels[held]))
            run = train(part, settings=[*FEW, *more], seed=4 + number, progress=False)
            probs[held] = run.predictions().probs
        rounds.append(probs)
        trains = ~flagged_issues(labels, np.mean(rounds[min(1, number) :], axis=0))
        assert trains[truth == labels].mean() > 0.9 > 0.3 > trains[truth != labels].mean()
    np.testing.assert_allclose(result.predictions.probs, (rounds[1] + rounds[2]) / 2, atol=1e-4)
    np.testing.assert_array_equal(result.predictions.labels, labels)
    assert [np.bincount(f).tolist() for f in result.folds_of] == [[120, 120]] * 3
    assert not np.array_equal(*result.folds_of[:2])


def test_the_test_split_is_held_out_as_by_a_run(block_set: ImageSet) -> None:
    result = held_out(block_set, split="test")
    run = train(block_set, settings=[*FEW, "validation.name=show-test"], progress=False)
    np.testing.assert_allclose(result.predictions.probs, run.predictions().probs, atol=1e-6)
    assert result.record.metrics == pytest.approx(run.metrics["test"])


def test_the_folder_can_be_read_without_misread(block_set: ImageSet) -> None:
    result = held_out(block_set, split="all")
    assert {p.name for p in result.folder.iterdir()} == {"held-out.json", "predictions.npz", "recipe.toml"}
    record = json.loads((result.folder / "held-out.json").read_text())
    assert (record["split"], record["folds"], record["rounds"], record["fingerprint"]) == (
        "all", 3, 2, block_set.fingerprint,
    )  # fmt: skip
    with np.load(result.folder / "predictions.npz") as saved:
        assert saved["split"].tolist() == ["train"] * 320 + ["test"] * 80
        assert saved["index"].tolist() == [*range(320), *range(80)]
        assert saved["fold"].shape == (2, 400)
        correct = (saved["probs"].argmax(axis=1) == saved["labels"]).sum()
    assert record["metrics"]["misread"] == 400 - correct


def test_what_is_in_the_folder_is_not_trained_again(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = held_out(block_set, split="all", rounds=2)
    assert not first.reused
    spy = Spy(monkeypatch)
    again = held_out(block_set, split="all", rounds=2)
    assert again.reused
    assert spy.shown == []
    assert again.label_issues().equals(first.label_issues())
    others = [{"seed": 1}, {"folds": 4}, {"rounds": 1}, {"split": "train"}, {"more": ("epochs=2",)}]
    for other in others:
        assert not held_out(block_set, **{"split": "all", "rounds": 2, **other}).reused
    images = block_set.train.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = ImageSet.from_arrays(images, block_set.train.labels, test=blocks(80, seed=1))
    assert not held_out(changed, split="all", rounds=2).reused


def test_damaged_leftovers_are_passed_over(block_set: ImageSet) -> None:
    first = held_out(block_set)
    (first.folder / "held-out.json").write_text("{")
    assert not held_out(block_set).reused


def test_the_table_names_split_row_and_contents_of_every_image(block_set: ImageSet) -> None:
    result = held_out(block_set, split="all")
    table = result.label_issues("normalised-margin")
    assert len(table) == 400
    assert (table["margin"].diff().dropna() <= 0).all()
    for line, image in zip(table.head(30).to_dict("records"), result.images_of(table.head(30)), strict=True):
        np.testing.assert_array_equal(image, block_set.split(line["split"]).images[line["index"]])
        assert line["hash"] == image_hash(image)


class InterruptAfter(FoldListener):
    """Presses Ctrl-C at the n-th event."""

    left = 0

    def event(self, event: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_what_breaks_half_way_leaves_nothing(block_set: ImageSet) -> None:
    listener = InterruptAfter(Console(quiet=True))
    listener.left = 5
    with pytest.raises(KeyboardInterrupt):
        held_out(block_set, progress=listener)
    with pytest.raises(TrainingError, match="no longer finite"):
        held_out(block_set, ("optimizer.name=sgd", "optimizer.learning_rate=1e6", "layers.1.activation=linear"))
    assert list(Path("held-out").iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"split": "val"}, DataError, "no choice 'val' of what to hold out. Known: train, test, all"),
        ({"folds": 1}, DataError, "1 folds hold out everything or nothing; ask for 2 or more"),
        ({"folds": 321}, DataError, "320 images cannot make 321 folds"),
        ({"rounds": 0}, DataError, "0 rounds give no predictions"),
        ({"more": ("layers=[]",)}, RecipeError, "has no layers"),
    ],
)
def test_what_cannot_be_done_is_refused(
    block_set: ImageSet, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        held_out(block_set, **settings)
    assert not Path("held-out").exists()


def test_copies_of_one_image_cannot_be_held_out() -> None:
    same = ImageSet.from_arrays(np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2, test=blocks(4, side=4, classes=2))
    with pytest.raises(DataError, match="No image is left to train on when"):
        held_out(same)


def test_a_line_says_what_each_fold_gave(block_set: ImageSet, capsys: pytest.CaptureFixture[str]) -> None:
    result = held_out(block_set, progress=True, rounds=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"training {i}/6" for i in range(1, 7)]
    assert "213 images in" in lines[0]
    assert "on 107 held out" in lines[0]
    assert result.record.metrics["n"] == 320
