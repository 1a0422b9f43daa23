"""Held-out predictions: by networks that never saw the image, kept whole or not at all."""

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from misread import ImageSet
from misread.analysis.label_noise import looks_wrong
from misread.data.image_hash import image_hash
from misread.errors import DataError, RecipeError, TrainingError
from misread.runs.held_out import HeldOut, cross_val_predict
from misread.runs.progress import FoldProgress, pick_fold_progress
from misread.runs.train import train
from misread.training.auto_recipe import choose_recipe
from misread.training.cross_validation import FoldDone
from misread.training.worker_progress import TrainingProgress
from samples import blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

LAYERS = 'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]'
FEW = [LAYERS, "epochs=3", "batch_size=32", "optimizer.learning_rate=0.01"]


def held_out(data: Any, more: tuple[str, ...] = (), **settings: Any) -> HeldOut:
    settings = {"folds": 3, "seeds": 1, "progress": False, **settings}
    return cross_val_predict(data, "tutorial-mlp", settings=[*FEW, *more], **settings)


def test_held_out_noise_is_predicted_at_chance_level() -> None:
    """Each noise image is there twice, in a random class: a network that saw it, or its copy, would know it."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (100, 8, 8), dtype=np.uint8), rng.integers(0, 4, 100)
    data = ImageSet.from_arrays(np.tile(images, (2, 1, 1)), np.tile(labels, 2), test=(images[:8], labels[:8]))
    memorise = ["epochs=60", "optimizer.name=adam", "optimizer.learning_rate=0.01", "batch_size=32", LAYERS]
    run = train(data, "tutorial-mlp", settings=memorise, progress=False)
    assert run.evaluate(split="train")["accuracy"] > 0.95  # those it trained on it knows by heart
    assert run.metrics["test"]["accuracy"] == 1.0  # and their copies too
    held = cross_val_predict(data, "tutorial-mlp", settings=memorise, progress=False, split="train", seeds=1)
    assert held.metrics["accuracy"] < 0.4  # chance is 0.25, with a standard error of 0.043


def test_probabilities_equal_those_of_trainings_without_the_flagged_images() -> None:
    """A plain version: each network is trained by `train` and predicts the images held out as its test split."""
    images, labels = blocks(240)
    truth = labels.copy()
    labels[:24] = (labels[:24] + 1) % 4
    more = ("epochs=12", "validation.name=show-test")
    result = held_out(ImageSet.from_arrays(images, labels, test=blocks(8, seed=1)), more, seed=4)

    def probs_of(held: np.ndarray, kept: np.ndarray) -> np.ndarray:
        part = ImageSet.from_arrays(images[kept], labels[kept], test=(images[held], labels[held]))
        return train(part, "tutorial-mlp", settings=[*FEW, *more], seed=4, progress=False).predictions().probs

    where = [np.flatnonzero(result.members[0].folds_of == fold) for fold in range(3)]
    assert [len(w) for w in where] == [80, 80, 80]
    for fold, held in enumerate(where):
        others = np.setdiff1d(np.arange(240), held)
        without, of_itself = np.zeros((240, 4)), []
        for other in {0, 1, 2} - {fold}:
            pair = np.sort(np.concatenate([held, where[other]]))
            probs = probs_of(pair, np.setdiff1d(others, pair))
            without[where[other]] = probs[np.isin(pair, where[other])]
            of_itself.append(probs[np.isin(pair, held)])
        flagged = others[looks_wrong(labels[others], without[others], of_itself)]
        assert set(flagged) & set(range(24))
        np.testing.assert_allclose(
            result.predictions.probs[held], probs_of(held, np.setdiff1d(others, flagged)), atol=1e-4
        )
    np.testing.assert_array_equal(result.predictions.labels, labels)
    first = result.label_issues()["index"].head(24)
    assert (truth != labels)[first].mean() > 0.9


def test_the_test_split_is_predicted_as_by_a_run(block_set: ImageSet) -> None:
    result = held_out(block_set, split="test")
    run = train(block_set, "tutorial-mlp", settings=[*FEW, "validation.name=show-test"], progress=False)
    np.testing.assert_allclose(result.predictions.probs, run.predictions().probs, atol=1e-6)
    assert result.metrics == pytest.approx(run.metrics["test"])


def test_the_folder_can_be_read_without_misread(block_set: ImageSet) -> None:
    folder = held_out(block_set, split="all").members[0].folder
    assert {p.name for p in folder.iterdir()} == {"held-out.json", "predictions.npz", "recipe.toml"}
    record = json.loads((folder / "held-out.json").read_text())
    assert (record["split"], record["folds"], record["filter_labels"], record["fingerprint"]) == (
        "all", 3, True, block_set.fingerprint,
    )  # fmt: skip
    with np.load(folder / "predictions.npz") as saved:
        assert saved["split"].tolist() == ["train"] * 320 + ["test"] * 80
        assert saved["index"].tolist() == [*range(320), *range(80)]
        assert saved["fold"].shape == (400,)
        correct = (saved["probs"].argmax(axis=1) == saved["labels"]).sum()
    assert record["metrics"]["misread"] == 400 - correct


def test_stored_predictions_are_reused(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    first = held_out(block_set, split="all")
    assert not first.reused
    with monkeypatch.context() as without:
        without.setattr("misread.runs.held_out.predict_folds", None)
        again = held_out(block_set, split="all")
    assert again.reused
    assert again.label_issues().equals(first.label_issues())
    others = [{"seed": 1}, {"folds": 4}, {"filter_labels": False}, {"split": "train"}, {"more": ("epochs=2",)}]
    for other in others:
        assert not held_out(block_set, **{"split": "all", **other}).reused
    images = block_set.train.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = ImageSet.from_arrays(images, block_set.train.labels, test=blocks(80, seed=1))
    assert not held_out(changed, split="all").reused


def test_several_seeds_count_by_the_geometric_mean_of_each_seed_alone(block_set: ImageSet) -> None:
    together = held_out(block_set, seeds=3, seed=5)
    alone = [held_out(block_set, seed=seed, out="alone") for seed in (7, 5, 6)]
    plain = np.prod([one.predictions.probs.astype(float) ** (1 / 3) for one in alone], axis=0)
    plain /= plain.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(together.predictions.probs, plain, rtol=1e-5)
    assert [member.record.seed for member in together.members] == [5, 6, 7]
    folds = [member.folds_of for member in together.members]
    assert not np.array_equal(folds[0], folds[1])  # each seed draws its own
    assert together.metrics["n"] == 320


def test_more_seeds_train_only_what_is_not_stored(block_set: ImageSet, capsys: pytest.CaptureFixture[str]) -> None:
    first = held_out(block_set, seeds=2, split="test")
    more = held_out(block_set, seeds=3, split="test", progress=True)
    assert [member.reused for member in more.members] == [True, True, False]
    assert [line.split(",")[:2] for line in capsys.readouterr().out.splitlines()] == [["seed 3/3", " training 1/1"]]
    assert more.members[0].folder == first.members[0].folder
    assert not more.reused
    again = held_out(block_set, seeds=3, split="test")
    assert again.reused
    np.testing.assert_array_equal(again.predictions.probs, more.predictions.probs)


def test_the_default_number_of_seeds_fits_the_time(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(held_out(block_set, split="test", seeds=None).members) == 8  # each takes well under 7 s
    monkeypatch.setattr("misread.runs.held_out.SECONDS", 0)
    assert len(held_out(block_set, split="test", seeds=None).members) == 2


def test_no_more_labels_are_flagged_than_the_estimate_allows(block_set: ImageSet) -> None:
    assert held_out(block_set).noise is None  # it takes two to tell errors of networks from wrong labels
    result = held_out(block_set, seeds=2)
    noise = result.noise
    assert noise is not None
    assert noise.low <= noise.count <= noise.high
    assert result.label_issues()["flagged"].sum() == noise.flagged <= noise.high


def test_the_default_recipe_fits_the_data(block_set: ImageSet) -> None:
    name, reason = choose_recipe(block_set)
    result = cross_val_predict(block_set, settings=FEW, split="test", seeds=1, progress=False)
    assert (result.members[0].record.recipe, result.reason) == (name, reason)
    assert held_out(block_set, split="test").reason == ""


@pytest.mark.parametrize(
    ("name", "contents"), [("held-out.json", b"{"), ("predictions.npz", b"PK"), ("recipe.toml", b"\xff")]
)
def test_damaged_folders_are_ignored(block_set: ImageSet, name: str, contents: bytes) -> None:
    first = held_out(block_set)
    (first.members[0].folder / name).write_bytes(contents)
    assert not held_out(block_set).reused


def test_predictions_whose_record_was_changed_are_made_again(block_set: ImageSet) -> None:
    path = held_out(block_set).members[0].folder / "held-out.json"
    path.write_text(path.read_text().replace('"folds": 3', '"folds":  3'))  # says the same
    assert held_out(block_set).reused
    path.write_text(path.read_text().replace('"cpu_seconds": ', '"cpu_seconds": 9'))
    assert not held_out(block_set).reused


def test_the_table_names_split_row_and_contents_of_every_image(block_set: ImageSet) -> None:
    result = held_out(block_set, split="all")
    table = result.label_issues("normalised-margin")
    assert len(table) == 400
    assert (table["margin"].diff().dropna() <= 0).all()
    for line, image in zip(table.head(30).to_dict("records"), table.scored.images[table.order[:30]], strict=True):
        np.testing.assert_array_equal(image, block_set.split(line["split"]).images[line["index"]])
        assert line["hash"] == image_hash(image)


class KillOnce(FoldProgress):
    """Kills a process at the first training that it hears of."""

    killed = False

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        super().on_worker(worker, training, now)
        if not self.killed:
            multiprocessing.active_children()[0].kill()
            self.killed = True


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_several_processes_give_the_bits_of_one_also_if_one_is_killed(block_set: ImageSet, threads: int) -> None:
    listener = KillOnce(Console(quiet=True))
    settings: dict[str, Any] = {"threads": threads, "seeds": 1}
    one = held_out(block_set, out="one", **settings)
    two = held_out(block_set, out="two", workers=2, progress=listener, **settings)
    assert listener.killed
    assert multiprocessing.active_children() == []
    for of_one, of_two in zip(one.members, two.members, strict=True):
        assert not of_two.reused
        assert of_one.probs.tobytes() == of_two.probs.tobytes()
        assert of_one.folds_of.tolist() == of_two.folds_of.tolist()
        assert of_two.record.environment.threads == threads
        assert of_two.record.cpu_seconds > of_two.record.fit_seconds * 0.1  # those of the processes count
    assert two.label_issues().equals(one.label_issues())


def test_an_error_in_a_process_ends_all_and_leaves_no_folder(block_set: ImageSet) -> None:
    with pytest.raises(TrainingError, match="no longer finite"):
        held_out(
            block_set, ("optimizer.name=sgd", "optimizer.learning_rate=1e6", "layers.1.activation=linear"), workers=2
        )
    assert multiprocessing.active_children() == []
    assert list(Path("held-out").iterdir()) == []


class InterruptAfter(FoldProgress):
    """Presses Ctrl-C at the n-th event."""

    left = 0

    def on_steps(self, event: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_failed_or_interrupted_cross_validation_leaves_no_folder(block_set: ImageSet) -> None:
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
        ({"split": "val"}, DataError, "The images of 'val' cannot be held out. Known: train, test, all"),
        ({"folds": 1}, DataError, "1 folds leave no images to train on or none to predict. Use 2 or more"),
        ({"folds": 321}, DataError, "320 images cannot be split into 321 folds"),
        (
            {"folds": 2},
            DataError,
            "Filtering labels holds out two folds at a time, which is impossible with 2. Use 3 or more",
        ),
        ({"folds": 0, "filter_labels": False}, DataError, "0 folds leave no images to train on or none to predict"),
        ({"seeds": 0}, DataError, "0 seeds train nothing. Use 1 or more."),
        ({"workers": 0}, RecipeError, "0 workers train nothing. Use 1 or more."),
        ({"more": ("layers=[]",)}, RecipeError, "has no layers"),
    ],
)
def test_impossible_settings_are_refused(
    block_set: ImageSet, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        held_out(block_set, **settings)
    assert not Path("held-out").exists()


def test_copies_of_one_image_cannot_be_held_out() -> None:
    same = ImageSet.from_arrays(np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2, test=blocks(4, side=4, classes=2))
    with pytest.raises(DataError, match="No image is left to train on when"):
        held_out(same)


def test_progress_says_how_long_the_rest_of_a_seed_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("misread.runs.progress.time.monotonic", lambda: now[0])
    display = pick_fold_progress()
    display.begin(15, 1, None)
    for now[0] in (70.0, 140.0, 980.0):
        display.number = round(now[0] / 70)
        display.on_fold_end(FoldDone(40_000, 10_000, 0.7, 69.0, 130.0))
    ends = [line.partition("held-out images")[2] for line in capsys.readouterr().out.splitlines()]
    assert ends == [f", about {left} left of this seed" for left in ("0:16:20", "0:15:10", "0:01:10")]


def test_progress_has_a_line_for_each_network(block_set: ImageSet, capsys: pytest.CaptureFixture[str]) -> None:
    result = held_out(block_set, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"training {i}/6" for i in range(1, 7)]
    assert "106 images in" in lines[0]
    assert "on 214 held-out images" in lines[0]
    assert "on 107 held-out images" in lines[3]
    assert result.metrics["n"] == 320
    plain = held_out(block_set, progress=True, filter_labels=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" images")[0] for line in lines] == [
        "training 1/3, 213", "training 2/3, 213", "training 3/3, 214",
    ]  # fmt: skip
    assert len(plain.predictions) == 320
