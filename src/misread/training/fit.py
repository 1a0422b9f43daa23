"""The loop."""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misread.errors import TrainingError
from misread.models.network import network_logits
from misread.training.evaluate import predict_logits
from misread.training.events import STOP, EpochEnded, Event, Finished, HistoryRow, Progress
from misread.training.losses import cross_entropy, make_targets
from misread.training.optimizers import learning_rate_factor, make_stepper
from misread.training.recipe import Recipe

TICK_SECONDS = 0.1  # between two progress events: what the eye can follow, and seldom enough to cost nothing


@dataclass(frozen=True)
class Examples:
    """Labelled images on the device that trains: (N, H, W, C) uint8 and (N,) int64."""

    images: Tensor
    labels: Tensor

    @classmethod
    def on(cls, device: torch.device, images: np.ndarray, labels: np.ndarray) -> "Examples":
        return cls(torch.tensor(images, device=device), torch.tensor(labels, device=device))


def fit(
    network: nn.Module, recipe: Recipe, train: Examples, val: Examples, n_classes: int
) -> Generator[Event, str | None, None]:
    """Train the network in place by the recipe; a generator of events, the finished network last.

    train and val lie on the network's device. The recipe's loss is resolved (not `auto`).
    A listener that sends STOP ends the training: after the epoch when it answers `EpochEnded`, at once when it
    answers `Progress`; `Finished` follows all the same.
    Data order and dropout come from the recipe's seed; torch's global generator is seeded with it.
    Raises TrainingError: the loss is no longer finite.
    """
    started = time.perf_counter()
    validate_seconds = 0.0
    torch.manual_seed(recipe.seed)
    order = torch.Generator().manual_seed(recipe.seed)
    device = train.images.device
    targets = make_targets(train.labels, recipe.loss, n_classes)
    optimizer = make_stepper(recipe.optimizer, network.parameters())
    n = len(train.labels)
    steps = -(-n // recipe.batch_size)
    losses = torch.zeros(steps, device=device)  # read back at ticks only: no synchronisation per batch
    correct = torch.zeros((), dtype=torch.int64, device=device)
    history: list[HistoryRow] = []
    stopped = False

    for epoch in range(1, recipe.epochs + 1):
        epoch_started = last_tick = time.perf_counter()
        network.train()
        correct.zero_()
        seen = 0
        for step, rows in enumerate(torch.randperm(n, generator=order).to(device).split(recipe.batch_size)):
            factor = learning_rate_factor(recipe.schedule, (epoch - 1) * steps + step, recipe.epochs * steps)
            logits = network_logits(network, train.images[rows])
            loss = cross_entropy(logits, targets[rows], recipe.loss.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step(recipe.optimizer.learning_rate * factor)
            losses[step] = loss.detach()
            correct += (logits.argmax(dim=1) == train.labels[rows]).sum()
            seen += len(rows)
            if time.perf_counter() - last_tick > TICK_SECONDS and step + 1 < steps:
                last_tick = time.perf_counter()
                _check_finite(losses[: step + 1], epoch, recipe)
                answer = yield Progress(
                    epoch, recipe.epochs, step + 1, steps, losses[: step + 1].mean().item(), correct.item() / seen
                )
                if answer == STOP:
                    stopped = True
                    break
        if stopped:
            break
        _check_finite(losses, epoch, recipe)
        weights = torch.full_like(losses, recipe.batch_size)
        weights[-1] = n - (steps - 1) * recipe.batch_size  # the last batch may be short
        row = HistoryRow(
            epoch=epoch,
            loss=(losses @ weights).item() / n,
            accuracy=correct.item() / n,
            val_loss=0.0,
            val_accuracy=0.0,
            seconds=time.perf_counter() - epoch_started,
        )
        validate_started = time.perf_counter()
        row.update(_validate(network, val, recipe, n_classes))
        validate_seconds += time.perf_counter() - validate_started
        if not math.isfinite(row["val_loss"]):  # the last step broke the weights: no later batch shows it
            raise _not_finite(row["val_loss"], epoch, steps, recipe)
        history.append(row)
        if (yield EpochEnded(row, recipe.epochs, network)) == STOP:
            break

    fit_seconds = time.perf_counter() - started - validate_seconds
    yield Finished(network, tuple(history), fit_seconds, validate_seconds)


def _check_finite(losses: Tensor, epoch: int, recipe: Recipe) -> None:
    if torch.isfinite(losses).all():
        return
    step = int((~torch.isfinite(losses)).float().argmax()) + 1
    raise _not_finite(losses[step - 1].item(), epoch, step, recipe)


def _not_finite(loss: float, epoch: int, step: int, recipe: Recipe) -> TrainingError:
    rate = recipe.optimizer.learning_rate
    return TrainingError(
        f"The loss is no longer finite: {loss} in epoch {epoch}, step {step} of training.\n"
        f"Try a smaller learning rate, for example --set optimizer.learning_rate={rate / 10:g} (now {rate:g}), "
        "or a BatchNormalization layer."
    )


def _validate(network: nn.Module, val: Examples, recipe: Recipe, n_classes: int) -> HistoryRow:
    logits = predict_logits(network, val.images)
    smoothing = recipe.loss.label_smoothing
    row = {
        "val_loss": F.cross_entropy(logits, val.labels, label_smoothing=smoothing).item(),
        "val_accuracy": (logits.argmax(dim=1) == val.labels).float().mean().item(),
    }
    if recipe.top_k:
        top = logits.topk(min(recipe.top_k, n_classes), dim=1).indices
        row["val_top_k_accuracy"] = (top == val.labels[:, None]).any(dim=1).float().mean().item()
    return row  # type: ignore[return-value]
