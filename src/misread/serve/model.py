"""The model that a server predicts with: a run, or an ONNX file that `misread export` wrote."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from misread.data.geometry import Geometry, fit_picture

MAX_NAME = 100


@dataclass(frozen=True)
class Model:
    """What the server needs of a model, wherever it comes from.

    name:     in the addresses.
    platform: as in the Open Inference Protocol.
    facts:    what the model says about itself, as JSON values.
    probs:    (N, H, W, C) uint8 -> (N, K) float32, rows sum to 1. Several threads may call it.
    """

    name: str
    platform: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    geometry: Geometry
    facts: dict[str, Any]
    probs: Callable[[np.ndarray], np.ndarray]

    def predict_picture(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, 1 or 3) uint8 of any size -> (K,) float32. The picture is first laid like the training images."""
        found: np.ndarray = self.probs(fit_picture(pixels, self.geometry)[None])[0]
        return found

    def warm_up(self) -> None:
        """Predict once, so that the first request does not wait for what is loaded on first use."""
        self.probs(np.zeros((1, *self.image_shape), np.uint8))


def open_model(path: Path, name: str | None = None, threads: int | None = None) -> Model:
    """Open a run folder, or a file whose name ends in `.onnx`.

    name: by default that of the folder or file. threads: of one prediction; by default the number of cores.
    Raises RunError: there is no such model, it is damaged, or a package is missing.
    """
    opened = _onnx(path, threads) if path.suffix.lower() == ".onnx" else _run(path, threads)
    if name is None:
        return opened
    return Model(**{**vars(opened), "name": name})


def _onnx(path: Path, threads: int | None) -> Model:
    from misread.lab.onnx_file import open_onnx

    file = open_onnx(path, threads)
    facts = {name: _value(text) for name, text in file.facts.items()}
    return Model(path.stem, "onnx_onnxv1", file.class_names, file.image_shape, file.geometry, facts, file.probs)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _run(path: Path, threads: int | None) -> Model:
    import torch

    from misread.runs.run import open_run

    if threads is not None:
        torch.set_num_threads(threads)
    run = open_run(path, device="cpu")
    record, test = run.record, run.metrics["test"]
    facts = {
        "data": record.data.name,
        "fingerprint": record.data.fingerprint,
        "accuracy": {
            "accuracy": test["accuracy"],
            "low": test["accuracy_low"],
            "high": test["accuracy_high"],
            "n": test["n"],
        },
        "recipe": record.recipe,
        "created": record.created,
        "seed": record.seed,
    }

    def probs(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return run.predict(images)

    classes, shape = tuple(record.data.class_names), record.data.image_shape
    return Model(path.resolve().name, "misread_run", classes, shape, Geometry(**record.data.geometry), facts, probs)
