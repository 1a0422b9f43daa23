"""Export to Keras: a `.keras` file that Keras 3 opens, from pixels 0..255 to probabilities."""

from pathlib import Path

from torch import nn

from misread.lab.facts import facts
from misread.lab.formats import EXACT, Format, Predict
from misread.lab.keras_archive import require_h5py
from misread.runs.run import Run


def _serialise(run: Run, network: nn.Module) -> bytes:
    from misread.lab.keras_writer import keras_file

    record = run.record
    name = "".join(c if c.isalnum() and c.isascii() else "_" for c in record.recipe)
    return keras_file(network, record.data.image_shape, facts(run), name, record.created)


def _read(path: Path, run: Run) -> Predict:
    from misread.lab.keras_file import open_keras

    model = open_keras(path)
    return lambda images: model.probs(images, run.data)


FORMAT = Format("model.keras", EXACT, require_h5py, _serialise, _read)
