"""The training loop."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from misread.errors import TrainingError
from misread.training.backend import Backend, using_weights
from misread.training.batches import Batches, Examples
from misread.training.budget import Budget
from misread.training.events import EpochEnded, Event, StepsDone
from misread.training.recipe import Recipe
from misread.training.session import HistoryRow, TrainState

VALIDATION_BLOCK = 10_000  # images predicted at once


def fit(
    backend: Backend,
    recipe: Recipe,
    train: Examples,
    val: Examples,
    state: TrainState,
    tick_seconds: float | None = None,
) -> Iterator[Event]:
    """Train the backend's network by the recipe, beginning at the position of the state. Yields events.

    train and val are on the backend's device. The recipe's loss is resolved (not `auto`).
    To end the training, call `state.stop(reason)` between two events. Afterwards the state is complete and can be
    written, and `state.stopped` has the reason.
    tick_seconds: see `Budget`.
    Raises TrainingError: the loss is no longer finite.
    """
    batches = Batches(train, recipe, state.seed)
    budget = Budget(recipe, batches.steps_per_epoch, tick_seconds)
    if state.backend:
        backend.load_state_dict(state.backend)
    while not (state.stopped or budget.spent(state)):
        while not budget.epoch_over(state):
            before = state.clock.fit_seconds
            with state.clock.fitting():
                batch = batches.take(state.epoch, state.step, budget.next_steps(state), budget.image_scale(state))
                rates = budget.rates(state, -(-len(batch.rows) // batch.size))
                state.record(*backend.step(batch, rates))
                if budget.average_due(state):
                    state.average.update(backend.weights())
            budget.measure(len(rates), state.clock.fit_seconds - before)
            _check_losses(state, recipe)
            yield StepsDone(
                state, backend, len(state.history) + 1, budget.epochs(state), batches.steps_per_epoch, batch.size,
                rates[-1], len(train),
            )  # fmt: skip
            del batch  # its images are a window of the epoch, and memory holds one
            if state.stopped:
                state.capture(backend)
                return
        with state.clock.validating():
            validated, predictions = _validate(backend, recipe, val, state)
        state.close_epoch(_row(state, recipe, len(train), validated))
        yield EpochEnded(state, backend, state.history[-1], budget.epochs(state), predictions)
    if budget.spent(state):
        state.finish_member(backend)
    state.capture(backend)


def fit_members(
    make_backend: Callable[[int, int], Backend], recipe: Recipe, train: Examples, val: Examples, state: TrainState,
    tick_seconds: float | None = None,
) -> Iterator[Event]:  # fmt: skip
    """`fit` for each member of the recipe's ensemble in turn; with one member the same as `fit`.

    make_backend: (member, seed) -> the backend that trains the member, called when its training begins.
    A stop ends the current member, and no other follows.
    """
    while len(state.finished) < recipe.members:
        yield from fit(make_backend(state.member, state.seed), recipe, train, val, state, tick_seconds)
        if state.stopped:
            return
        if len(state.finished) < recipe.members:
            state.begin_member(recipe.member_seed(len(state.finished)))


def _row(state: TrainState, recipe: Recipe, n: int, validated: dict[str, float]) -> HistoryRow:
    """The history row of the current epoch."""
    steps, size = state.step, recipe.batch_size
    seen = min(steps * size, n)  # fewer than n if the seconds were used up within the epoch
    weights = torch.full_like(state.losses, size)
    weights[-1] = seen - (steps - 1) * size  # the last batch may be short
    return {
        "epoch": len(state.history) + 1,
        "loss": (state.losses @ weights).item() / seen,
        "accuracy": state.correct / seen,
        **validated,  # type: ignore[typeddict-item]
        "seconds": state.clock.epoch_seconds,
    }


def _validate(backend: Backend, recipe: Recipe, val: Examples, state: TrainState) -> tuple[dict[str, float], Tensor]:
    """The validation's part of the history row, and the predicted classes (V,) int64."""
    with using_weights(backend, state.average.mean if state.average.updates else None):
        logits = torch.cat([backend.logits(val.images[rows]) for rows in val.rows.split(VALIDATION_BLOCK)])
    labels, smoothing = val.labels[val.rows], recipe.loss.label_smoothing
    predictions = logits.argmax(dim=1)
    row = {
        "val_loss": F.cross_entropy(logits, labels, label_smoothing=smoothing).item(),
        "val_accuracy": (predictions == labels).float().mean().item(),
    }
    if recipe.top_k:
        top = logits.topk(min(recipe.top_k, logits.shape[1]), dim=1).indices
        row["val_top_k_accuracy"] = (top == labels[:, None]).any(dim=1).float().mean().item()
    if not math.isfinite(row["val_loss"]):  # the last step broke the weights, and no later training loss shows it
        raise _not_finite(row["val_loss"], state, state.step, recipe)
    return row, predictions


def _check_losses(state: TrainState, recipe: Recipe) -> None:
    finite: Tensor = torch.isfinite(state.losses)
    if not finite.all():
        step = int((~finite).float().argmax()) + 1
        raise _not_finite(state.losses[step - 1].item(), state, step, recipe)


def _not_finite(loss: float, state: TrainState, step: int, recipe: Recipe) -> TrainingError:
    rate = recipe.optimizer.learning_rate * state.rate_factor()
    return TrainingError(
        f"The loss is no longer finite: {loss} in epoch {state.epoch + 1}, step {step} of training.\n"
        f"Try a smaller learning rate, for example --set optimizer.learning_rate={rate / 10:g} (now {rate:g}), "
        "or a BatchNormalization layer."
    )
