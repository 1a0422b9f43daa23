"""The events that `fit` yields. An event refers to the current state and is valid until the next step."""

from dataclasses import dataclass

from torch import Tensor

from misread.training.backend import Backend, Weights
from misread.training.session import HistoryRow, TrainState


@dataclass(frozen=True)
class StepsDone:
    """Some steps of an epoch are done. Epochs are numbered from 1, across all members of an ensemble.

    step, steps: the number of steps done in this epoch, and the number of its steps.
    rate: the learning rate of the last step. n_train: the number of images in an epoch.
    """

    state: TrainState
    backend: Backend
    epoch: int
    epochs: int
    steps: int
    batch_size: int
    rate: float
    n_train: int

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def loss(self) -> float:
        """The mean loss in the epoch so far."""
        return float(self.state.losses.mean())

    @property
    def accuracy(self) -> float:
        """The share of correct predictions in the epoch so far, each made before training on the image."""
        return self.state.correct / min(self.state.step * self.batch_size, self.n_train)


@dataclass(frozen=True)
class EpochEnded:
    """An epoch and its validation are done; `row` is the new last row of the history.

    predictions: (V,) int64, the predicted class of each validation image, on the backend's device.
    """

    state: TrainState
    backend: Backend
    row: HistoryRow
    epochs: int
    predictions: Tensor

    @property
    def weights(self) -> Weights:
        """The weights that were validated."""
        return self.state.validated_weights(self.backend)


Event = StepsDone | EpochEnded
