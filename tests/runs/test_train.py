import csv
import errno
import json
import os
import shutil
import signal
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import misread
from misread import ImageSet
from misread.errors import DataError, RecipeError, RunError
from misread.runs.progress import Progress
from misread.runs.train import train
from misread.training.events import EpochEnded
from samples import blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]',
    "name=small",
    "batch_size=32",
    "optimizer.learning_rate=0.01",
    "validation.name=carve",
]


def small(data: Any, **settings: Any) -> misread.Run:
    settings = {
        "settings": [*SMALL, *settings.pop("more", [])],
        "epochs": 3,
        "out": "runs",
        "progress": False,
        **settings,
    }
    return train(data, "tutorial-mlp", **settings)


def test_a_run_folder_can_be_read_without_misread(block_set: ImageSet) -> None:
    folder = small(block_set).folder
    record = json.loads((folder / "run.json").read_text())
    assert record["format"] == 1
    assert record["status"] == "complete"
    assert record["data"]["fingerprint"] == block_set.fingerprint
    assert (record["data"]["n_train"], record["data"]["n_val"], record["data"]["n_test"]) == (288, 32, 80)
    assert record["model"] == {"network": "recipe", "parameters": 1108, "trainable": 1108, "bytes": 4432}
    assert set(record["timing"]) == {
        "load_seconds", "fit_seconds", "validate_seconds", "evaluate_seconds", "total_seconds",
    }  # fmt: skip
    assert record["environment"]["torch"] == torch.__version__
    test = record["metrics"]["test"]
    assert set(test) == {
        "loss", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1", "n", "misread",
    }  # fmt: skip
    assert tomllib.loads((folder / "recipe.toml").read_text())["optimizer"]["learning_rate"] == 0.01
    with (folder / "history.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    assert [line[0] for line in lines[1:]] == ["1", "2", "3"]
    with np.load(folder / "predictions-test.npz") as saved:
        np.testing.assert_array_equal(saved["labels"], block_set.test.labels)
        np.testing.assert_allclose(saved["probs"].sum(axis=1), 1, rtol=1e-5)
        misread_rows = np.flatnonzero(saved["probs"].argmax(1) != saved["labels"])
    with (folder / "misreads-test.csv").open() as file:
        table = list(csv.DictReader(file))
    assert sorted(int(line["index"]) for line in table) == misread_rows.tolist()
    assert test["misread"] == len(misread_rows)
    weights = load_file(folder / "model.safetensors")
    # the network by hand, from the files alone
    x = block_set.test.images.reshape(80, -1).astype(np.float64) / 255
    hidden = np.maximum(x @ weights["dense.weight"].T + weights["dense.bias"], 0)
    logits = hidden @ weights["dense_1.weight"].T + weights["dense_1.bias"]
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with np.load(folder / "predictions-test.npz") as saved:
        np.testing.assert_allclose(saved["probs"], by_hand, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_file_bit_for_bit(block_set: ImageSet) -> None:
    torch.manual_seed(99)  # what the caller did with torch's generator changes nothing
    first = small(block_set, seed=4).folder
    state = torch.random.get_rng_state()
    second = small(block_set, seed=4).folder
    assert torch.equal(state, torch.random.get_rng_state())  # nor does training change it
    assert first != second
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    third = small(block_set, seed=5).folder
    assert (first / "model.safetensors").read_bytes() != (third / "model.safetensors").read_bytes()


def test_an_opened_run_is_the_same_as_the_trained_one(block_set: ImageSet) -> None:
    trained = small(block_set)
    opened = misread.open_run(trained.folder, data=block_set)
    assert opened.metrics == trained.metrics
    assert opened.recipe == trained.recipe
    assert opened.history.equals(trained.history)
    assert opened.misreads.table.equals(trained.misreads.table)
    np.testing.assert_array_equal(opened.predict(block_set.test.images), trained.predict(block_set.test.images))
    evaluated = opened.evaluate()
    assert evaluated["misread"] == trained.metrics["test"]["misread"]
    assert evaluated["data"]["same"]
    assert str(opened.summary) == str(trained.summary)


@pytest.mark.parametrize("kernels", [True, False])
def test_predicting_does_not_depend_on_the_batch(
    kernels: bool, block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr("misread.engine.bare_chain.load_library", lambda: None)
    run, images = small(block_set), block_set.test.images
    whole = run.predict(images)
    monkeypatch.setattr("misread.training.torch_backend.PREDICT_BATCH", 7)
    in_parts = np.concatenate([run.predict(images[start : start + 9]) for start in range(0, 80, 9)])
    np.testing.assert_allclose(in_parts, whole, atol=0 if kernels and run.record.engine.name == "kernels" else 1e-6)


def test_the_carved_validation_split_is_recorded_and_found_again(block_set: ImageSet) -> None:
    run = small(block_set)
    with np.load(run.folder / "splits.npz") as saved:
        rows = {name: saved[name] for name in saved.files}
    assert sorted([*rows["train_rows"], *rows["val_rows"]]) == list(range(320))
    assert np.bincount(block_set.train.labels[rows["val_rows"]]).tolist() == [8, 8, 8, 8]
    again = misread.open_run(run.folder, data=block_set)
    np.testing.assert_array_equal(again.split("val").rows, rows["val_rows"])
    val_accuracy = 1 - again.predictions("val").misreads.total / 32
    assert val_accuracy == pytest.approx(run.history["val_accuracy"].iloc[-1])


def test_the_tutorial_recipes_use_test_as_validation_and_record_it(block_set: ImageSet) -> None:
    run = small(block_set, more=["validation.name=show-test"])
    assert run.record.data.n_train == 320
    assert run.record.data.n_val == run.record.data.n_test == 80
    assert run.record.data.validation == "the test split, shown; nothing is chosen on it"
    assert run.history["val_accuracy"].iloc[-1] == pytest.approx(run.metrics["test"]["accuracy"])
    assert not (run.folder / "splits.npz").exists()


def test_the_validation_split_of_the_data_is_used() -> None:
    data = ImageSet.from_arrays(*blocks(100), val=blocks(24, seed=2), test=blocks(20, seed=1))
    run = small(data)
    assert (run.record.data.n_train, run.record.data.n_val) == (100, 24)
    assert "own validation split" in run.record.data.validation


def test_other_data_is_recognised_by_its_fingerprint(block_set: ImageSet) -> None:
    run = small(block_set)
    other = ImageSet.from_arrays(*blocks(40, seed=7), test=blocks(40, seed=8), name="other")
    result = run.evaluate(other)
    assert result["n"] == 40
    assert not result["data"]["same"]
    assert result["data"]["fingerprint"] == other.fingerprint
    with pytest.raises(RunError, match="not what the run in .* was trained on"):
        misread.open_run(run.folder, data=other)
    three = ImageSet.from_arrays(*blocks(30, classes=3))
    with pytest.raises(DataError, match="has the classes 0, 1, 2; the run in .* has 0, 1, 2, 3"):
        run.evaluate(three)
    wide = ImageSet.from_arrays(*blocks(40, side=10))
    with pytest.raises(DataError, match=r"images of \(10, 10, 1\).*trained on \(8, 8, 1\)"):
        run.evaluate(wide)


def test_other_data_can_be_scored_without_the_data_of_the_run(block_set: ImageSet) -> None:
    folder = small(block_set).folder  # arrays in memory: opened again, the run has no data
    other = ImageSet.from_arrays(*blocks(40, seed=7), test=blocks(40, seed=8), name="other")
    result = misread.open_run(folder).evaluate(other)
    assert (result["n"], result["data"]["same"]) == (40, False)


class Viewing(nn.Module):
    """Reshapes with `view`, as many tutorials do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(channels, 5, 3), nn.Linear(5 * 6 * 6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).relu().view(len(x), -1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_module_that_reshapes_with_view_trains_on_grey_and_colour(channels: int) -> None:
    data = ImageSet.from_arrays(*blocks(40, channels=channels), test=blocks(20, channels=channels, seed=1))
    assert small(data, network=Viewing(channels)).metrics["test"]["n"] == 20


def test_other_data_without_a_test_split_is_evaluated_whole(block_set: ImageSet) -> None:
    run = small(block_set)
    whole = ImageSet.from_arrays(*blocks(60, seed=9))
    assert whole.carved_test
    result = run.evaluate(whole)
    assert (result["split"], result["n"]) == ("all", 60)
    probs = run.predict(blocks(60, seed=9)[0])
    assert result["misread"] == int((probs.argmax(axis=1) != blocks(60, seed=9)[1]).sum())


def test_data_that_changed_on_disk_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    (x, y), (tx, ty) = blocks(100), blocks(40, seed=1)
    np.savez(path, x_train=x, y_train=y, x_test=tx, y_test=ty)
    folder = small(str(path)).folder
    assert misread.open_run(folder).evaluate()["data"]["same"]
    tx[0, 0, 0] ^= 1
    np.savez(path, x_train=x, y_train=y, x_test=tx, y_test=ty)
    with pytest.raises(RunError, match="is no longer the data that the run"):
        misread.open_run(folder).evaluate()


@pytest.mark.parametrize("labels", ["whole numbers", "one-hot"])
def test_arrays_train_with_either_form_of_labels(labels: str) -> None:
    (x, y), (tx, ty) = blocks(120), blocks(40, seed=1)
    if labels == "one-hot":
        run = small(((x, np.eye(4)[y]), (tx, np.eye(4)[ty])))
        assert run.recipe.loss.name == "categorical_crossentropy"
    else:
        run = small((x, y))
        assert run.recipe.loss.name == "sparse_categorical_crossentropy"
    assert run.metrics["test"]["accuracy"] > 0.5
    with pytest.raises(RunError, match="trained on arrays in memory; open it with their image set"):
        misread.open_run(run.folder).data  # noqa: B018


def test_the_wrong_form_of_labels_explains_the_difference() -> None:
    with pytest.raises(RecipeError, match="Both forms compute the same loss"):
        small(blocks(40), more=["loss.name=categorical_crossentropy"])


def test_an_unsupported_data_type_is_refused() -> None:
    with pytest.raises(DataError, match="The data is of type int, but must be an image set"):
        small(3)


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 3, 5), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.left(x).amax((2, 3)), self.right(x).amax((2, 3))], dim=1))


def test_any_module_trains_and_opens_again_with_its_class(block_set: ImageSet) -> None:
    run = small(block_set, network=Branches())
    assert run.record.model.network == "Branches"
    with pytest.raises(RunError, match=r"is a module from Python, Branches; open it with such a module"):
        misread.open_run(run.folder, data=block_set).network  # noqa: B018
    opened = misread.open_run(run.folder, data=block_set, network=Branches())
    np.testing.assert_array_equal(opened.predict(block_set.test.images), run.predict(block_set.test.images))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(3, 4), r"Linear failed for a batch of \(2, 1, 8, 8\)"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 5)),
            r"gives \(2, 5\) for two images, but .* logits \(2, 4\)",
        ),
    ],
)
def test_a_module_that_does_not_fit_is_refused_before_training(
    block_set: ImageSet, network: nn.Module, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        small(block_set, network=network)
    assert not Path("runs").exists()


def test_early_stopping_ends_and_keeps_the_best_epoch(block_set: ImageSet) -> None:
    run = small(
        block_set, epochs=60, more=["early_stopping.patience=2", "optimizer.learning_rate=0.1", "optimizer.name=adam"]
    )
    losses = run.history["val_loss"]
    best = int(losses.idxmin()) + 1
    assert run.record.best_epoch == best
    assert run.record.epochs_trained in (best + 2, 60)
    val = misread.open_run(run.folder, data=block_set).predictions("val")
    assert val.metrics()["loss"] == pytest.approx(losses.min(), rel=1e-3)


class InterruptAfter(Progress):
    """Presses Ctrl-C at the n-th event."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on_steps(self, event: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)

    on_epoch_end = on_steps


def test_ctrl_c_leaves_a_readable_run_marked_interrupted(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("misread.training.budget.TICK_SECONDS", 0.0)
    before = signal.getsignal(signal.SIGINT)
    run = small(block_set, progress=InterruptAfter(14), epochs=50)
    assert signal.getsignal(signal.SIGINT) is before
    assert run.record.status == "interrupted"
    opened = misread.open_run(run.folder, data=block_set)
    assert len(opened.history) == run.record.epochs_trained == 1  # 9 steps an epoch: inside the second
    assert opened.evaluate()["n"] == 80
    assert "interrupted" in repr(opened)


def test_ctrl_c_in_the_first_epoch_still_writes_a_run(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("misread.training.budget.TICK_SECONDS", 0.0)
    impatient = InterruptAfter(2)
    impatient.on_end = lambda state: os.kill(os.getpid(), signal.SIGINT)  # type: ignore[method-assign]  # a second press
    run = small(block_set, progress=impatient)
    opened = misread.open_run(run.folder, data=block_set)
    assert opened.history.empty
    assert opened.evaluate()["n"] == 80


def test_training_outside_the_main_thread_works(block_set: ImageSet) -> None:
    runs: list[misread.Run] = []
    thread = threading.Thread(target=lambda: runs.append(small(block_set)))
    thread.start()
    thread.join()
    assert runs[0].record.status == "complete"


def test_a_diverging_training_leaves_no_run(block_set: ImageSet) -> None:
    with pytest.raises(misread.TrainingError, match="no longer finite"):
        small(block_set, more=["optimizer.name=sgd", "optimizer.learning_rate=1e6", "layers.1.activation=linear"])
    assert list(Path("runs").iterdir()) == []


def test_the_number_of_threads_is_used_and_restored(block_set: ImageSet) -> None:
    before = torch.get_num_threads()
    assert small(block_set, threads=1).record.environment.threads == 1
    assert torch.get_num_threads() == before
    with pytest.raises(RecipeError, match="0 threads are not possible"):
        small(block_set, threads=0)


@pytest.mark.parametrize("device", ["cuda", "gpu"])
def test_an_unavailable_device_is_refused(block_set: ImageSet, device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(
        RecipeError,
        match="is not available on this machine" if device == "cuda" else "no device 'gpu'. Did you mean 'cuda'",
    ):
        small(block_set, device=device)


# what can go wrong with the folder


def test_too_little_space_is_reported_before_training(block_set: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="has 1 MB free, but a run needs about 34 MB"):
        small(block_set)


def test_a_full_disk_error_names_the_folder_of_the_written_files(
    block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(RunError, match=r"no space is left. The files written so far are in runs/") as caught:
        small(block_set)
    kept = Path(str(caught.value).split(" are in ")[1].split(".\n")[0])
    assert (kept / "model.safetensors").is_file()
    assert misread.runs.run_folder.find_runs(Path("runs")) == []  # type: ignore[attr-defined]


def test_an_output_path_that_is_a_file_is_refused_before_training(block_set: ImageSet) -> None:
    Path("runs").write_text("a file in the way")
    with pytest.raises(RunError, match=r"runs cannot be written: .*Choose another folder with --out"):
        small(block_set)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_output_folder_is_refused_before_training(block_set: ImageSet) -> None:
    Path("runs").mkdir(mode=0o555)
    with pytest.raises(RunError, match="cannot be written: Permission denied"):
        small(block_set)


def test_a_read_only_file_system_is_refused_before_training(
    block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *args: Any, **settings: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def never(*args: Any) -> Any:
        raise AssertionError("trained all the same")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("misread.runs.train.fit_members", never)
    with pytest.raises(RunError, match="cannot be written: Read-only file system"):
        small(block_set)


def test_every_epoch_calls_the_progress(block_set: ImageSet) -> None:
    class Counts(misread.Callback):
        epochs = 0

        def on_epoch_end(self, event: EpochEnded) -> None:
            self.epochs += 1

    counts = Counts()
    small(block_set, callbacks=[counts], epochs=4)
    assert counts.epochs == 4
