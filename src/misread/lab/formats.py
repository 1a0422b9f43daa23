"""What a file format has to offer so that a run can be exported to it, and how far its predictions may differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from torch import nn

from misread.errors import RunError
from misread.names import nearest
from misread.runs.run import Run

Predict = Callable[[np.ndarray], np.ndarray]  # (n, H, W, C) uint8 -> (n, K) float32


@dataclass(frozen=True)
class Limits:
    """How far a replay may be from the run's own predictions.

    difference: of a probability. changed: the share of images whose predicted class may be another.
    accuracy_loss: how much lower the accuracy may be.
    """

    difference: float
    changed: float
    accuracy_loss: float

    def __str__(self) -> str:
        if self.changed:
            return f"the accuracy may be lower by {self.accuracy_loss:.0%}"
        return f"no predicted class may change, and no probability by more than {self.difference:g}"


EXACT = Limits(difference=1e-4, changed=0, accuracy_loss=0)  # float32, computed in another order
ROUNDED = Limits(difference=1, changed=1, accuracy_loss=0.01)  # weights and activations in 8 bits


@dataclass(frozen=True)
class Format:
    """A kind of file.

    file:      the name of the file.
    limits:    see `Limits`.
    require:   raises RunError if a package is missing, before any work is done.
    serialise: the contents of the file for a run, and its network on the CPU in evaluation mode.
    read:      opens the written file, without the run's own weights, and returns what predicts with it.
    beside:    names and contents of text files that explain or use the file.
    """

    file: str
    limits: Limits
    require: Callable[[], None]
    serialise: Callable[[Run, nn.Module], bytes]
    read: Callable[[Path, Run], Predict]
    beside: Callable[[], Mapping[str, str]] = dict


MODULES = {  # of this package
    "onnx": "to_onnx", "torch": "to_torch", "safetensors": "to_safetensors", "keras": "to_keras",
}  # fmt: skip


def find_format(name: str) -> Format:
    """The format with this name. Raises RunError: there is none."""
    if name not in MODULES:
        raise RunError(
            f"misread cannot export to {name!r}.{nearest(name, MODULES)} The formats are {', '.join(MODULES)}."
        )
    found: Format = import_module(f"misread.lab.{MODULES[name]}").FORMAT
    return found
