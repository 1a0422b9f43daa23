"""Stopping before the last epoch, when validation gets no better or is good enough: listeners to events."""

import numpy as np
import torch
from torch import nn

from misread.training.events import EpochEnded
from misread.training.recipe import EarlyStopping


class BestWeights:
    """Remembers the weights of the best epoch so far; of equals the first."""

    def __init__(self, spec: EarlyStopping) -> None:
        self.spec = spec
        self.epoch: int | None = None
        self._best = float("inf")
        self._weights: dict[str, torch.Tensor] = {}

    def had_enough(self, event: EpochEnded) -> bool:
        """Take note of an epoch; True when `patience` epochs went by since the best."""
        value = event.row[self.spec.monitor]
        badness = value if self.spec.monitor == "val_loss" else -value
        if self.epoch is None or badness < self._best:
            self.epoch, self._best = event.row["epoch"], badness
            self._weights = {k: v.detach().clone() for k, v in event.network.state_dict().items()}
        return event.row["epoch"] - self.epoch >= self.spec.patience

    def restore(self, network: nn.Module) -> None:
        """Give the network the weights of the best epoch; without a whole epoch it keeps what it has."""
        if self._weights:
            network.load_state_dict(self._weights)


class TargetAccuracy:
    """Whether an epoch's validation accuracy has reached a target, a share in (0, 1]."""

    def __init__(self, target: float) -> None:
        self.target = np.float32(target)  # the accuracy is one: 9 of 10 in float32 are less than 0.9 in float64
        self.reached = False

    def had_enough(self, event: EpochEnded) -> bool:
        """Take note of an epoch; True when it reached the target."""
        self.reached = bool(np.float32(event.row["val_accuracy"]) >= self.target)
        return self.reached
