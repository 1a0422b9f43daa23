"""What happens in a training, as `fit` yields it. An event describes the state as it is until the next step."""

from dataclasses import dataclass

from misread.training.backend import Backend, Weights
from misread.training.session import HistoryRow, TrainState


@dataclass(frozen=True)
class StepsDone:
    """Some steps of an epoch are done. Epochs are numbered from 1 through all members of an ensemble.

    step, steps: how many steps of the epoch are done, and how many it has.
    """

    state: TrainState
    backend: Backend
    epoch: int
    epochs: int
    steps: int
    batch_size: int

    @property
    def step(self) -> int:
        return self.state.step

    @property
    def loss(self) -> float:
        """The mean over the epoch so far."""
        return float(self.state.losses.mean())

    @property
    def accuracy(self) -> float:
        """The share of correct images in the epoch so far, each as it was met."""
        return self.state.correct / (self.state.step * self.batch_size)


@dataclass(frozen=True)
class EpochEnded:
    """An epoch and its validation are done; `row` is the new last row of the history."""

    state: TrainState
    backend: Backend
    row: HistoryRow
    epochs: int

    @property
    def weights(self) -> Weights:
        """The weights that were validated."""
        return self.state.validated_weights(self.backend)


Event = StepsDone | EpochEnded
