"""Stopping when validation gets no better, with the best weights kept: a listener to the training's events."""

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
