"""A run that only predicts: by the kernels alone where they can, because importing PyTorch takes long."""

import os
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from misread.data.decode import usable_cores
from misread.engine.array_network import ArrayNetwork
from misread.engine.kernel_specs import UnknownNetwork
from misread.errors import RecipeError
from misread.runs.record import RunRecord
from misread.runs.run_folder import RECIPE, WEIGHTS, read_record
from misread.training.recipe import parse_recipe

if TYPE_CHECKING:
    from misread.runs.stored_run import StoredRun

GPU_DEVICES = ("nvidia", "nvhost", "nvmap", "kfd", "dxg")  # beginnings of names in /dev, where there is a driver


class ArrayRun:
    """A run whose network the kernels know. It predicts as `StoredRun` does, up to the rounding of the softmax."""

    def __init__(self, record: RunRecord, network: ArrayNetwork) -> None:
        self.record, self.network = record, network

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As `StoredRun.predict`."""
        return self.network.probs(self.record.data.checked(images))


def open_to_predict(folder: Path, device: str = "auto") -> "ArrayRun | StoredRun":
    """A run folder, with its network loaded. device: as in `open_run`.

    Raises RunError: not a run folder, incomplete, damaged, from a newer misread, or it needs a module from Python.
    """
    record = read_record(folder)
    try:
        recipe, weights = (folder / RECIPE).read_bytes(), (folder / WEIGHTS).read_bytes()
    except OSError:
        recipe = weights = b""
    if run := array_run(record, recipe, weights, device):
        return run
    from misread.runs.stored_run import StoredRun

    stored = StoredRun(folder, record, device=device)
    stored.network  # noqa: B018  a run that cannot predict says so now, not for every file
    return stored


def array_run(
    record: RunRecord, recipe: bytes, weights: bytes, device: str = "auto", threads: int | None = None
) -> ArrayRun | None:
    """A run by the contents of its files; None if it needs PyTorch, also to say what is damaged.

    threads: by default as many as there are cores.
    """
    if record.model.network != "recipe" or not _on_cpu(device):
        return None
    data = record.data
    try:
        known = parse_recipe(tomllib.loads(recipe.decode()), RECIPE)
        if known.members > 1 or known.backbone or known.test_time_augmentation:
            return None
        arrays = load(weights)
        network = ArrayNetwork(known.layers, data.image_shape, len(data.class_names), arrays, threads or usable_cores())
    except (ValueError, RecipeError, SafetensorError, UnknownNetwork):  # ValueError: no UTF-8, or no TOML
        return None
    return ArrayRun(record, network)


def _on_cpu(device: str) -> bool:
    """Whether `pick_device` gives the CPU. PyTorch is only imported where there may be a GPU that it can use."""
    if device != "auto":
        return device == "cpu"
    if metadata.version("torch").endswith("+cpu") or sys.platform == "darwin":
        return True
    if sys.platform == "linux" and not any(name.startswith(GPU_DEVICES) for name in os.listdir("/dev")):
        return True
    from misread.training.device import pick_device

    return pick_device(device).type == "cpu"
