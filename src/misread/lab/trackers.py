"""Callbacks that write a training to MLflow or TensorBoard. `docs/trackers.md` shows how to write another."""

import time
from pathlib import Path
from typing import Any

from misread.errors import RunError, needing
from misread.names import nearest
from misread.runs import run_folder
from misread.runs.run import Run
from misread.training.callbacks import Callback
from misread.training.events import EpochEnded
from misread.training.session import HistoryRow, TrainState

LONGEST_VALUE = 500  # characters of a parameter's value; every store of MLflow takes them
TITLES = {  # a curve's name in a tracker, by the column of the history
    "loss": "loss/train",
    "accuracy": "accuracy/train",
    "val_loss": "loss/validation",
    "val_accuracy": "accuracy/validation",
    "val_top_k_accuracy": "top_k_accuracy/validation",
    "seconds": "seconds/epoch",
}


class MLflowCallback(Callback):
    """One MLflow run for each training: curves, every setting of the recipe, test metrics and the files of the run.

    uri:        of the tracking store, for example `sqlite:///mlflow.db`; by default MLflow's own choice.
    experiment: its name; it is created if there is none.
    files:      whether to store the run folder's files as artifacts, without the weights.
    run_id:     of the MLflow run, after the training has begun.
    A training that ends with an error is marked as failed, an interrupted one as killed.
    Raises RunError: MLflow is not installed.
    """

    def __init__(self, experiment: str = "misread", *, uri: str | None = None, files: bool = True) -> None:
        with needing("mlflow", "MLflow"):
            from mlflow import MlflowClient
        self.client = MlflowClient(tracking_uri=uri)
        self.experiment, self.files = experiment, files
        self.run_id = ""

    def on_start(self, state: TrainState) -> None:
        found = self.client.get_experiment_by_name(self.experiment)
        experiment = found.experiment_id if found else self.client.create_experiment(self.experiment)
        self.run_id = self.client.create_run(experiment).info.run_id
        for row in state.history:  # a resumed training
            self._log(row)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._log(event.row)

    def on_end(self, state: TrainState) -> None:
        self.client.set_terminated(self.run_id, "FAILED")  # unless `on_run` follows

    def on_run(self, run: Run) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        tags = {"mlflow.runName": run.folder.name, "folder": str(run.folder), "data": run.record.data.name,
                "fingerprint": run.record.data.fingerprint, "engine": run.record.engine.name}  # fmt: skip
        self.client.log_batch(
            self.run_id,
            metrics=[Metric(f"test/{key}", float(value), now, 0) for key, value in run.metrics["test"].items()],
            params=[Param(key, value[:LONGEST_VALUE]) for key, value in settings_of(run).items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        for path in _files(run) if self.files else []:
            subfolder = None if path.parent == run.folder else path.parent.name
            self.client.log_artifact(self.run_id, str(path), subfolder)
        self.client.set_terminated(self.run_id, "FINISHED" if run.record.status == "complete" else "KILLED")

    def _log(self, row: HistoryRow) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, [Metric(name, value, now, row["epoch"]) for name, value in curves(row)])


class TensorBoardCallback(Callback):
    """One folder of TensorBoard's events for each training: curves, test metrics, settings and misread images.

    folder: for the folders of all trainings; `tensorboard --logdir FOLDER` shows them.
    Raises RunError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path = "tensorboard") -> None:
        with needing("tensorboard", "TensorBoard"):
            from torch.utils.tensorboard import SummaryWriter
        self.folder, self._new_writer = Path(folder), SummaryWriter
        self.writer: Any = None

    def on_start(self, state: TrainState) -> None:
        name = time.strftime("%Y%m%d-%H%M%S")
        new = next(path for path in run_folder.numbered(self.folder, name) if not path.exists())
        self.writer = self._new_writer(str(new))
        for row in state.history:  # a resumed training
            self._log(row)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._log(event.row)

    def on_end(self, state: TrainState) -> None:
        self.writer.close()

    def on_run(self, run: Run) -> None:
        from matplotlib.image import imread

        epoch = run.record.epochs_trained
        for key, value in run.metrics["test"].items():
            self.writer.add_scalar(f"test/{key}", value, epoch)  # opens a new file of the same folder
        settings = "\n".join(f"    {key} = {value}" for key, value in settings_of(run).items())
        self.writer.add_text("settings", f"{run.folder}\n\n{settings}")
        picture = run.folder / run_folder.FIGURES / "misreads.png"
        if picture.is_file():
            self.writer.add_image("misread", imread(picture)[..., :3], epoch, dataformats="HWC")
        self.writer.close()

    def _log(self, row: HistoryRow) -> None:
        for name, value in curves(row):
            self.writer.add_scalar(name, value, row["epoch"])


TRACKERS: dict[str, type[MLflowCallback] | type[TensorBoardCallback]] = {
    "mlflow": MLflowCallback,
    "tensorboard": TensorBoardCallback,
}


def make_tracker(name: str) -> Callback:
    """The tracker with this name and its default settings.

    Raises RunError: there is no such tracker, or its package is not installed.
    """
    if name not in TRACKERS:
        raise RunError(
            f"There is no tracker {name!r}.{nearest(name, TRACKERS)} The trackers are {', '.join(TRACKERS)}."
        )
    return TRACKERS[name]()


def curves(row: HistoryRow) -> list[tuple[str, float]]:
    """The names and values of an epoch's curves."""
    return [(TITLES[key], float(value)) for key, value in row.items() if key in TITLES]  # type: ignore[arg-type]


def settings_of(run: Run) -> dict[str, str]:
    """The recipe's settings as text, by the names that `--set` takes, without the layers of the network."""
    settings: dict[str, str] = {}

    def add(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                add(value, f"{prefix}{key}.")
            elif key != "layers":
                settings[f"{prefix}{key}"] = str(value)

    add(run.recipe.model_dump(exclude_none=True), "")
    return settings


def _files(run: Run) -> list[Path]:
    """The files of a run folder, without weights and checkpoints."""
    names = [
        run_folder.RECORD,
        run_folder.RECIPE,
        run_folder.HISTORY,
        run_folder.CARD,
        run_folder.misreads_file("test"),
    ]
    paths = [run.folder / name for name in names] + sorted((run.folder / run_folder.FIGURES).glob("*.png"))
    return [path for path in paths if path.is_file()]
