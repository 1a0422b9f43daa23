"""Keras models where a command takes a run: `misread evaluate lesson.keras mnist`."""

from pathlib import Path
from typing import TYPE_CHECKING

from misread.cli.output import warn
from misread.cli.runs import find_run
from misread.errors import RunError

if TYPE_CHECKING:
    from misread.lab.keras_file import KerasModel
    from misread.runs.predictions import Predictions
    from misread.runs.run import Run

SUFFIXES = (".keras", ".h5", ".hdf5")


def is_keras(path: Path) -> bool:
    """Whether an argument names a Keras model, by its suffix."""
    from misread.runs.hub import hub_address

    return path.suffix.lower() in SUFFIXES and not path.is_dir() and not hub_address(path)


def open_model(path: Path, data: object, scaling: str | None) -> "KerasModel":
    """A Keras model. data: as given with it. Raises RunError: there is no data; see also `open_keras`."""
    from misread.lab.keras_file import open_keras

    if data is None:
        raise RunError(f"{path} is a Keras model, which does not know its data. Name them: {path.name} mnist")
    return open_keras(path, scaling=scaling)


def keras_predictions(path: Path, data: str | None, split: str, scaling: str | None) -> "Predictions":
    """The model's predictions; the notes about its scaling go to stderr."""
    model = open_model(path, data, scaling)
    found = model.predict(str(data), split)
    warn(*model.notes())
    return found


def check_run_options(data: object, scaling: str | None) -> None:
    """Raises RunError: options that are for Keras models were given with a run."""
    if data is not None:
        raise RunError("A run knows its data; only a Keras model (.keras, .h5) takes DATA here.")
    if scaling is not None:
        raise RunError("--scaling is for Keras models; a run has its own scaling.")


def compared(
    a: Path, b: Path, data: str | None, split: str, scaling: str | None
) -> "tuple[Run | Predictions, Run | Predictions]":
    """Two runs, or a Keras model's predictions in place of one or both, on the run's data or on `data`."""
    from misread.runs.run import open_run

    runs = [None if is_keras(path) else open_run(find_run(path)) for path in (a, b)]
    if all(runs):
        check_run_options(data, scaling)
    own = next((run.data for run in runs if run), None) if data is None else data
    found: list[Run | Predictions] = []
    for path, run in zip((a, b), runs, strict=True):
        if run is not None:
            found.append(run)
            continue
        model = open_model(path, own, scaling)
        found.append(model.predict(own, split))  # type: ignore[arg-type]  # open_model refuses None
        warn(*model.notes())
    return found[0], found[1]
