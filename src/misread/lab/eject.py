"""Writes a run as one PyTorch script that does without misread: data, network, training, evaluation, misread images."""

import io
from pathlib import Path

import numpy as np

from misread.errors import RunError
from misread.files import write_bytes, write_text
from misread.lab.eject_data import ARRAYS, arrays_of, data_text
from misread.lab.eject_script import script_text
from misread.runs.run import Run

FOLDER, SCRIPT = "eject", "train.py"  # in the run folder


def eject(run: Run, out: str | Path | None = None) -> Path:
    """Write the script that trains a run's network again with PyTorch alone; returns its path.

    out: a file; by default `train.py` in the folder `eject` of the run. Data that takes more than a few lines to load
         is written beside it, as `data.npz`.
    If PyTorch trained the run on a CPU, the script trains the same weights on that machine, bit for bit. Otherwise it
    rounds differently, and its first lines say so.
    Raises RunError: the network is a module from Python or has a backbone, or the file cannot be written.
    Raises DataError or RunError: the data cannot be loaded.
    """
    _check(run)
    path = Path(out) if out is not None else run.place_for(FOLDER) / SCRIPT
    data = data_text(run)
    script = script_text(run, data, path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if data.arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays_of(run))  # type: ignore[arg-type]
            write_bytes(path.with_name(ARRAYS), buffer.getvalue())
        write_text(path, script)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}. Choose another with --out.") from None
    return path


def _check(run: Run) -> None:
    if run.record.model.network != "recipe":
        raise RunError(
            f"The run in {run.folder} trained a module from Python, {run.record.model.network}. Its source is not in "
            "the folder, so no script can be written. Eject a run whose recipe has the layers."
        )
    if run.recipe.backbone:
        raise RunError(
            f"The run in {run.folder} uses the pretrained network {run.recipe.backbone.name}, which a short script "
            "cannot contain. Eject a run without a backbone, or use misread export."
        )
