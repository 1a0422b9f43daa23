"""What a training tells while it goes on. `fit` yields these; whoever listens may answer with STOP."""

from dataclasses import dataclass
from typing import Final, TypedDict

from torch import nn

STOP: Final = "stop"


class _Row(TypedDict):
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class HistoryRow(_Row, total=False):
    """One epoch. `loss` and `accuracy` are means over the epoch's batches as they were met, while the weights moved.

    `seconds` is training time alone; validation is not in it. With `top_k`, `val_top_k_accuracy` is there too.
    """

    val_top_k_accuracy: float


@dataclass(frozen=True)
class EngineUsed:
    """What computed a training. name: `kernels` or `torch`. note: why it is not the faster one; empty where it is.

    precision: `float32` or `mixed`, which may be another than the recipe's where this machine has no fast bf16.
    """

    name: str
    precision: str
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """Some steps of an epoch are done. `loss` and `accuracy` are means over the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochEnded:
    """An epoch and its validation are done."""

    row: HistoryRow
    epochs: int
    network: nn.Module


@dataclass(frozen=True)
class Finished:
    """The last event. An epoch that a listener stopped half-way is not in the history."""

    network: nn.Module
    history: tuple[HistoryRow, ...]
    fit_seconds: float
    validate_seconds: float
    engine: EngineUsed


Event = Progress | EpochEnded | Finished
