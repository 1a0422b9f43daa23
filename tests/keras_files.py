"""Models that real Keras saved, and copies of them with a planted change.

`benchmarks/peers/make_keras_fixtures.py` made them with Keras 3.15.1 on TensorFlow 2.21, JAX 0.10 and PyTorch 2.13.
"""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FIXTURES = Path(__file__).parent / "lab" / "fixtures" / "keras.tar.xz"
BACKENDS, NETWORKS = ("tensorflow", "jax", "torch"), ("mlp", "cnn", "layers")
MEMBERS = ("metadata.json", "config.json", "model.weights.h5")

Change = Callable[[Any], object]


def unpack(folder: Path) -> Path:
    with tarfile.open(FIXTURES) as archive:
        archive.extractall(folder, filter="data")
    return folder


def change_keras(
    source: Path, to: Path, config: Change | None = None, weights: Change | None = None, names: Any = MEMBERS
) -> Path:
    """A copy of a `.keras` file. config, weights: called with its configuration and its open HDF5 file."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in MEMBERS}
    if config:
        value = json.loads(contents["config.json"])
        contents["config.json"] = json.dumps(config(value) or value).encode()
    if weights:
        buffer = io.BytesIO(contents["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        contents["model.weights.h5"] = buffer.getvalue()
    with zipfile.ZipFile(to, "w") as archive:
        for name in names:
            archive.writestr(name, contents.get(name, b"extra"))
    return to


def change_h5(source: Path, to: Path, config: Change | None = None, weights: Change | None = None) -> Path:
    to.write_bytes(source.read_bytes())
    with h5py.File(to, "r+") as file:
        if config:
            value = json.loads(file.attrs["model_config"])
            file.attrs["model_config"] = json.dumps(config(value) or value)
        if weights:
            weights(file)
    return to


def layers(config: dict[str, Any]) -> Any:
    return config["config"]["layers"]


def as_numbers(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images of a fixture as its network takes them, float32, and the probabilities by Keras."""
    with np.load(file) as arrays:
        return arrays["images"].astype(np.float32) * np.float32(arrays["scale"]), arrays["probs"]
