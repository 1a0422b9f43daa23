"""Progress of trainings in worker processes: what a training reports to another process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from misread.errors import RecipeError
from misread.training.callbacks import Callback
from misread.training.device import check_threads
from misread.training.events import StepsDone
from misread.workers import Cluster, Need


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


def threads_of_each(workers: int | Cluster, threads: int | None) -> int | None:
    """The number of threads of each of several workers: as given, or an equal share of torch's; of a cluster one.

    With one worker None, which is torch's own number, stays None.
    Raises RecipeError: fewer than one worker, or than one thread on a cluster.
    """
    if not isinstance(workers, int):
        check_threads(threads)
        return threads or 1
    if workers < 1:
        raise RecipeError(f"{workers} workers train nothing. Use 1 or more.")
    return threads if workers == 1 or threads is not None else max(torch.get_num_threads() // workers, 1)


def training_need(threads: int, device: torch.device, folder: Path | None = None) -> Need:
    """What a training needs on a cluster. folder: where it writes; see `Need`."""
    return Need(threads, 1 if device.type == "cuda" else 0, folder)


def refuse_callbacks(callbacks: Sequence[Callback]) -> None:
    """Raises RecipeError: there are callbacks, which several workers would not call in this process."""
    if callbacks:
        raise RecipeError(
            "Callbacks and trackers are called in this process, but several workers train in others. Leave them out, "
            "or use one worker."
        )
