"""Callbacks observe and stop a training. `drive` runs a training and calls them for its events."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from misread.training.events import EpochEnded, Event, StepsDone
from misread.training.recipe import EarlyStopping, Recipe
from misread.training.session import INTERRUPTED, BestEpoch, RateChange, TrainState


class Callback:
    """Base class of callbacks: override the methods that you need.

    Callbacks are called in the order of the list. Their time does not count as training time. To end the training, call
    `event.state.stop(reason)`.
    """

    def on_start(self, state: TrainState) -> None:
        """Before the first step; in a resumed training, before the next step."""

    def on_steps(self, event: StepsDone) -> None:
        """After some steps, about ten times a second."""

    def on_epoch_end(self, event: EpochEnded) -> None:
        """After an epoch and its validation."""

    def on_end(self, state: TrainState) -> None:
        """After the last event, also if the training ends with an error."""

    def on_run(self, run: Any) -> None:
        """After the run folder is complete: `run` is the `misread.Run`. Not if the training ended with an error."""


def drive(events: Iterable[Event], state: TrainState, callbacks: Sequence[Callback]) -> None:
    """Run a training to its end, and call the callbacks for each event."""
    try:
        for callback in callbacks:
            callback.on_start(state)
        for event in events:
            for callback in callbacks:
                if isinstance(event, StepsDone):
                    callback.on_steps(event)
                else:
                    callback.on_epoch_end(event)
    finally:
        for callback in callbacks:
            callback.on_end(state)


class StopEarly(Callback):
    """Stores the weights of the best epoch, the first of equals. Stops after `patience` epochs without improvement."""

    def __init__(self, spec: EarlyStopping) -> None:
        self.spec = spec

    def on_epoch_end(self, event: EpochEnded) -> None:
        state, epoch = event.state, event.row["epoch"]
        value = event.row[self.spec.monitor]
        badness = value if self.spec.monitor == "val_loss" else -value
        if state.best is None or badness < state.best.value:
            state.best = BestEpoch(epoch, badness, event.weights)
        if epoch - state.best.epoch >= self.spec.patience:
            state.stop("early stopping")


class StopAtTarget(Callback):
    """Stops after the first epoch whose validation accuracy reaches the target, a share in (0, 1]."""

    def __init__(self, target: float) -> None:
        self.target = np.float32(target)  # the accuracy is float32, and 9 of 10 in float32 is less than 0.9 in float64

    def on_epoch_end(self, event: EpochEnded) -> None:
        if np.float32(event.row["val_accuracy"]) >= self.target:
            event.state.target_reached = True
            event.state.stop("target accuracy reached")


class StopWhen(Callback):
    """Interrupts the training when `should_stop()` is true. It can be resumed."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self.should_stop = should_stop

    def on_steps(self, event: StepsDone) -> None:
        self._check(event.state)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._check(event.state)

    def _check(self, state: TrainState) -> None:
        if self.should_stop():
            state.stop(INTERRUPTED)


class ChangeRates(Callback):
    """Makes changes of the learning rate that were recorded in another training, at the same positions."""

    def __init__(self, changes: Sequence[RateChange]) -> None:
        self.changes = changes

    def on_start(self, state: TrainState) -> None:
        state.rate_changes = list(self.changes)


def recipe_callbacks(recipe: Recipe) -> list[Callback]:
    """The callbacks for a recipe's settings."""
    callbacks: list[Callback] = []
    if recipe.early_stopping:
        callbacks.append(StopEarly(recipe.early_stopping))
    if recipe.target_accuracy:
        callbacks.append(StopAtTarget(recipe.target_accuracy))
    return callbacks
