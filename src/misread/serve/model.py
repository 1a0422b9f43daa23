"""The model that a server predicts with: a run, or an ONNX file that `misread export` wrote."""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    facts:    what the model says about itself; see `misread.lab.facts.facts_as_values`.
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
    return opened if name is None else replace(opened, name=name)


def _onnx(path: Path, threads: int | None) -> Model:
    from misread.lab.facts import facts_as_values
    from misread.lab.onnx_file import open_onnx

    file = open_onnx(path, threads)
    facts = facts_as_values(file.facts)
    return Model(path.stem, "onnx_onnxv1", file.class_names, file.image_shape, file.geometry, facts, file.probs)


def _run(path: Path, threads: int | None) -> Model:
    import torch

    from misread.lab.facts import facts, facts_as_values
    from misread.runs.run import open_run

    if threads is not None:
        torch.set_num_threads(threads)
    run = open_run(path, device="cpu")
    data = run.record.data

    def probs(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return run.predict(images)

    classes, geometry = tuple(data.class_names), Geometry(**data.geometry)
    about = facts_as_values(facts(run))
    return Model(path.resolve().name, "misread_run", classes, data.image_shape, geometry, about, probs)
