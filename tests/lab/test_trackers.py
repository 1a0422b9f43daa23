"""Trackers: what MLflow and TensorBoard read back is what the run folder has."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import misread
from misread.lab.trackers import MLflowCallback, TensorBoardCallback, settings_of
from misread.training.events import EpochEnded
from samples import Result, blocks

DENSE = {"layers": [{"type": "Flatten"}, {"type": "Dense", "units": "classes"}], "epochs": 3, "name": "dense"}
CURVES = {"loss": "loss/train", "val_loss": "loss/validation", "val_accuracy": "accuracy/validation"}


class Breaks(misread.Callback):
    def on_epoch_end(self, event: EpochEnded) -> None:
        raise ZeroDivisionError


class Interrupts(misread.Callback):
    def on_epoch_end(self, event: EpochEnded) -> None:
        event.state.stop("interrupted")


def train(out: Path, *callbacks: misread.Callback) -> misread.Run:
    return misread.train(
        blocks(90), "tutorial-mlp", settings=DENSE, out=out, callbacks=callbacks, progress=False
    )  # fmt: skip


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client on a SQLite store of the test."""
    pytest.importorskip("mlflow", exc_type=ImportError)
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # its artifacts are written beside
    from mlflow import MlflowClient

    return MlflowClient()


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow_has_the_curves_the_settings_and_the_files(mlflow: Any, tmp_path: Path) -> None:
    tracker = MLflowCallback("digits in class")
    run = train(tmp_path, tracker)
    stored = mlflow.get_run(tracker.run_id)
    assert stored.info.status == "FINISHED"
    assert mlflow.get_experiment(stored.info.experiment_id).name == "digits in class"
    for column, name in CURVES.items():
        values = [(m.step, m.value) for m in mlflow.get_metric_history(tracker.run_id, name)]
        assert [step for step, _ in values] == [1, 2, 3]
        assert [value for _, value in values] == pytest.approx(run.history[column].tolist())
    assert stored.data.metrics["test/accuracy"] == run.metrics["test"]["accuracy"]
    assert stored.data.params["optimizer.learning_rate"] == "0.001"
    assert stored.data.params["epochs"] == "3"
    assert stored.data.tags["fingerprint"] == run.data.fingerprint
    files = {file.path for file in mlflow.list_artifacts(tracker.run_id)}
    assert {"run.json", "recipe.toml", "README.md", "figures"} <= files
    assert "model.safetensors" not in files


@pytest.mark.filterwarnings("ignore")
def test_mlflow_marks_what_did_not_end_well(mlflow: Any, tmp_path: Path) -> None:
    tracker = MLflowCallback()
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, tracker, Breaks())
    assert mlflow.get_run(tracker.run_id).info.status == "FAILED"
    run = train(tmp_path, tracker, Interrupts())
    assert mlflow.get_run(tracker.run_id).info.status == "KILLED"
    misread.resume(run.folder, data=run.data, callbacks=[tracker], progress=False)
    steps = [m.step for m in mlflow.get_metric_history(tracker.run_id, "loss/train")]
    assert steps == [1, 2, 3]


def test_tensorboard_has_the_curves_and_the_misread_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardCallback(tmp_path / "events")
    runs = [train(tmp_path, tracker) for _ in range(2)]
    folders = sorted((tmp_path / "events").iterdir())
    assert len(folders) == 2
    for run, folder in zip(runs, folders, strict=True):
        events = EventAccumulator(str(folder))
        events.Reload()
        for column, name in CURVES.items():
            assert [e.step for e in events.Scalars(name)] == [1, 2, 3]
            assert [e.value for e in events.Scalars(name)] == pytest.approx(run.history[column].tolist())
        assert events.Scalars("test/accuracy")[0].value == pytest.approx(run.metrics["test"]["accuracy"])
        assert events.Images("misread")[0].width > 100


def test_the_settings_have_the_names_that_set_takes(tmp_path: Path) -> None:
    run = train(tmp_path)
    settings = settings_of(run)
    assert settings["loss.label_smoothing"] == "0.0"
    again = misread.load_recipe(
        "tutorial-mlp", {**DENSE, **{k: v for k, v in settings.items() if k.startswith("optimizer.")}}
    )
    assert again.optimizer == run.recipe.optimizer
    assert not any("layers" in key for key in settings)


def test_on_run_gets_the_complete_run(tmp_path: Path) -> None:
    seen: list[misread.Run] = []

    class Sees(misread.Callback):
        def on_run(self, run: misread.Run) -> None:
            assert misread.open_run(run.folder).record == run.record
            seen.append(run)

    run = train(tmp_path, Sees())
    assert seen == [run]
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, Sees(), Breaks())
    assert seen == [run]


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")])
def test_a_missing_package_and_a_wrong_name_are_told(
    name: str, package: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    missing = cli("train", "digits", "--track", name)
    assert missing.code == 2
    assert f"pip install 'misread[{name}]'" in missing.err
    wrong = cli("train", "digits", "--track", name[:-1])
    assert (wrong.code, f"Did you mean {name!r}" in wrong.err or name in wrong.err) == (2, True)
