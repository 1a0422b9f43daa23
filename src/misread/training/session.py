"""The state of a training between two steps: a value that can be inspected, written, read and resumed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypedDict

import torch
from torch import Tensor

from misread.training.backend import WEIGHTS, Backend, Weights

INTERRUPTED: Final = "interrupted"  # the only reason to stop after which a training can be resumed


class _Row(TypedDict):
    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class HistoryRow(_Row, total=False):
    """One epoch. `loss` and `accuracy` are means over its batches, each computed before its step.

    `seconds` is training time without validation. `val_top_k_accuracy` exists if the recipe has `top_k`.
    """

    val_top_k_accuracy: float


@dataclass
class Clock:
    """Seconds spent in training steps and in validation.

    The clock runs only inside its two contexts, so the time of callbacks, such as a pause, does not count.
    """

    fit_seconds: float = 0.0
    validate_seconds: float = 0.0
    epoch_seconds: float = 0.0  # the part of fit_seconds in the current epoch

    @contextmanager
    def fitting(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            self.fit_seconds += seconds
            self.epoch_seconds += seconds

    @contextmanager
    def validating(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.validate_seconds += time.perf_counter() - started


@dataclass
class WeightAverage:
    """The running mean of weights and moving statistics.

    Source: Polyak and Juditsky 1992 (doi 10.1137/0330046); Izmailov et al. 2018 (arXiv 1803.05407).
    """

    updates: int = 0
    mean: Weights = field(default_factory=dict)

    def update(self, weights: Weights) -> None:
        """Add these weights; the average may store and change them. Integer tensors take the last value."""
        self.updates += 1
        floating = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        if self.updates > 1:
            mean = [self.mean[name] for name in floating]
            torch._foreach_lerp_(mean, [weights[name] for name in floating], 1 / self.updates)
            weights = {**weights, **dict(zip(floating, mean, strict=True))}
        self.mean = weights


@dataclass(frozen=True)
class RateChange:
    """From this position on, the schedule's learning rates are multiplied by `factor`, until the next change.

    member, epoch, step: of the first step with this factor, counted from 0 within the member.
    """

    member: int
    epoch: int
    step: int
    factor: float

    @property
    def position(self) -> tuple[int, int, int]:
        return self.member, self.epoch, self.step


@dataclass
class BestEpoch:
    """The best epoch so far by the monitored value, and its weights."""

    epoch: int
    value: float
    weights: Weights


@dataclass
class TrainState:
    """The complete state of a training between two steps. With the data and the recipe it determines the rest.

    seed:     the seed of the member being trained.
    member:   the member of the ensemble being trained, counted from 0.
    epoch:    the number of complete epochs of this member.
    step:     the number of steps done in the current epoch.
    losses:   (step,) float32, the mean loss of each of these steps. correct: the number of correct predictions in them.
    history:  one row for each complete epoch, numbered across all members.
    average:  the weight average of this member. best: the best epoch so far, with early stopping.
    finished: the final weights of the complete members.
    stopped:  why the training was stopped early; empty if it was not.
    interruptions: the positions at which the training was interrupted and resumed, and whether the result is exact.
    rate_changes: changes of the learning rate by the user, in the order of their positions. Those that lie ahead count
              from their position on.
    single_steps: an event follows every step. This does not change the result, and is not written.
    backend:  the backend's weights and optimizer moments at the last `capture`.
    """

    seed: int
    member: int = 0
    epoch: int = 0
    step: int = 0
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    correct: int = 0
    history: list[HistoryRow] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    average: WeightAverage = field(default_factory=WeightAverage)
    best: BestEpoch | None = None
    target_reached: bool = False
    finished: list[Weights] = field(default_factory=list)
    stopped: str = ""
    interruptions: list[dict[str, Any]] = field(default_factory=list)
    rate_changes: list[RateChange] = field(default_factory=list)
    single_steps: bool = False
    backend: Weights = field(default_factory=dict)

    @property
    def position(self) -> tuple[int, int, int]:
        """(member, epoch, step) of the next step."""
        return self.member, self.epoch, self.step

    @property
    def is_interrupted(self) -> bool:
        return self.stopped == INTERRUPTED

    def stop(self, reason: str) -> None:
        """Request the end of the training: `fit` returns after the current event has been handled."""
        self.stopped = reason

    def change_rate(self, factor: float) -> None:
        """Multiply the schedule's learning rates by `factor` from the next step on, instead of by earlier factors."""
        here = RateChange(*self.position, factor)
        if self.rate_factor() != factor:
            self.rate_changes = [c for c in self.rate_changes if c.position < self.position] + [here]

    def rate_factor(self, ahead: int = 0) -> float:
        """The user's factor of the learning rate in the step that is `ahead` steps after the next one, in this epoch.

        1 if there is no change.
        """
        position = self.member, self.epoch, self.step + ahead
        return next((c.factor for c in reversed(self.rate_changes) if c.position <= position), 1.0)

    def record(self, losses: Tensor, correct: Tensor) -> None:
        """Record steps: the mean loss of each (S,), and the number of correct predictions in them."""
        self.losses = torch.cat([self.losses.to(losses.device), losses])
        self.correct += int(correct)
        self.step += len(losses)

    def close_epoch(self, row: HistoryRow) -> None:
        """Add an epoch to the history, and begin the next one."""
        self.history.append(row)
        self.epoch += 1
        self.step, self.correct, self.losses = 0, 0, torch.zeros(0)
        self.clock.epoch_seconds = 0.0

    def validated_weights(self, backend: Backend) -> Weights:
        """The weights that are validated: the weight average if it has begun, else the current weights."""
        if self.average.updates:  # a copy, because later updates change the mean in place
            return {name: tensor.clone() for name, tensor in self.average.mean.items()}
        return backend.weights()

    def finish_member(self, backend: Backend) -> None:
        """Store the member's final weights."""
        self.finished.append(self._best_weights() or self.validated_weights(backend))

    def begin_member(self, seed: int) -> None:
        """Begin the training of the next member."""
        self.seed, self.member = seed, self.member + 1
        self.epoch, self.average, self.best, self.backend = 0, WeightAverage(), None, {}

    def capture(self, backend: Backend) -> None:
        """Copy the backend's weights and moments into the state. This makes the state complete."""
        self.backend = backend.state_dict()

    def final_weights(self) -> list[Weights]:
        """The weights of the complete members; if there are none, the current weights of the first, from `capture`."""
        if self.finished:
            return self.finished
        captured = {k.removeprefix(WEIGHTS): v for k, v in self.backend.items() if k.startswith(WEIGHTS)}
        return [self._best_weights() or self.average.mean or captured]

    def _best_weights(self) -> Weights:
        """The weights of the best epoch; empty without early stopping, or if the last epoch reached the target."""
        return self.best.weights if self.best and not self.target_reached else {}
