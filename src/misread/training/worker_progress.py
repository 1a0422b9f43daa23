"""Progress of trainings in worker processes: what a training reports to another process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from misread.errors import RecipeError
from misread.training.callbacks import Callback
from misread.training.events import StepsDone


@dataclass(frozen=True)
class TrainingProgress:
    """The position of a training. Epochs are numbered from 1. accuracy, loss: in the epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    accuracy: float
    loss: float


class ReportSteps(Callback):
    """Calls `report` with a `TrainingProgress` after some steps, about ten times a second."""

    def __init__(self, report: Callable[[TrainingProgress], None]) -> None:
        self.report = report

    def on_steps(self, event: StepsDone) -> None:
        self.report(TrainingProgress(event.epoch, event.epochs, event.step, event.steps, event.accuracy, event.loss))


def threads_of_each(workers: int, threads: int | None) -> int | None:
    """The number of threads of each of several workers: as given, or an equal share of torch's.

    With one worker None, which is torch's own number, stays None. Raises RecipeError: fewer than one worker.
    """
    if workers < 1:
        raise RecipeError(f"{workers} workers train nothing. Use 1 or more.")
    return threads if workers == 1 or threads is not None else max(torch.get_num_threads() // workers, 1)


def refuse_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raises RecipeError: there are callbacks, which several workers would not call in this process."""
    if callbacks:
        raise RecipeError(
            "Callbacks and trackers are called in this process, but several workers train in others. Leave them out, "
            "or use one worker."
        )
