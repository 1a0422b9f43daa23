"""Callbacks: what goes on beside a training. `drive` runs a training and hands its events to them."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from misread.training.events import EpochEnded, Event, StepsDone
from misread.training.recipe import EarlyStopping, Recipe
from misread.training.session import INTERRUPTED, BestEpoch, TrainState


class Callback:
    """Base of all callbacks: override what you need.

    Callbacks are called in the order in which they are given. Their time does not count as training time. To end the
    training, call `event.state.stop(reason)`.
    """

    def on_start(self, state: TrainState) -> None:
        """Before the first step; of a resumed training, before the next one."""

    def on_steps(self, event: StepsDone) -> None:
        """After some steps, about ten times a second."""

    def on_epoch_end(self, event: EpochEnded) -> None:
        """After an epoch and its validation."""

    def on_end(self, state: TrainState) -> None:
        """After the last event, also when the training ends in an error."""


def drive(events: Iterable[Event], state: TrainState, callbacks: Sequence[Callback]) -> None:
    """Run a training to its end: take its events one by one and call the callbacks."""
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
    """Keeps the weights of the best epoch, of equals the first; stops when `patience` epochs brought nothing better."""

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
        self.target = np.float32(target)  # the accuracy is float32: there 9 of 10 are less than float64's 0.9

    def on_epoch_end(self, event: EpochEnded) -> None:
        if np.float32(event.row["val_accuracy"]) >= self.target:
            event.state.target_reached = True
            event.state.stop("target accuracy reached")


class StopWhen(Callback):
    """Interrupts the training once `asked()` is true. What was trained so far stays, and can be resumed."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def on_steps(self, event: StepsDone) -> None:
        self._check(event.state)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._check(event.state)

    def _check(self, state: TrainState) -> None:
        if self.asked():
            state.stop(INTERRUPTED)


def recipe_callbacks(recipe: Recipe) -> list[Callback]:
    """The callbacks that a recipe's settings ask for."""
    callbacks: list[Callback] = []
    if recipe.early_stopping:
        callbacks.append(StopEarly(recipe.early_stopping))
    if recipe.target_accuracy:
        callbacks.append(StopAtTarget(recipe.target_accuracy))
    return callbacks
