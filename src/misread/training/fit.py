"""The loop."""

import itertools
import math
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misread.data.mapped_images import Images, MappedImages
from misread.errors import TrainingError
from misread.training import length as lengths
from misread.training.evaluate import PREDICT_BLOCK, as_tensor, predict_logits
from misread.training.events import STOP, EpochEnded, Event, Finished, HistoryRow, Progress
from misread.training.feed import Feed
from misread.training.length import Length
from misread.training.recipe import Recipe
from misread.training.steps import make_steps
from misread.training.weight_averaging import WeightAverage, update_steps


@dataclass(frozen=True)
class Examples:
    """Labelled images on the device that trains: images (M, H, W, C) uint8 and labels (M,) int64, at `rows` (N,).

    Images in a file stay there on the CPU: `images` is then the whole file, of which `rows` may be a part.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    @classmethod
    def on(cls, device: torch.device, images: Images, labels: np.ndarray) -> "Examples":
        if not isinstance(images, MappedImages) or images.rows is None:
            array = images.file if isinstance(images, MappedImages) else images
            return cls(as_tensor(array, device), as_tensor(labels, device), torch.arange(len(labels), device=device))
        in_file = np.zeros(len(images.file), np.int64)
        in_file[images.rows] = labels
        rows = images.rows.astype(np.int64)
        return cls(as_tensor(images.file, device), as_tensor(in_file, device), as_tensor(rows, device))


def fit(
    network: nn.Module, recipe: Recipe, train: Examples, val: Examples, n_classes: int
) -> Generator[Event, str | None, None]:
    """Train the network in place by the recipe; a generator of events, the finished network last.

    train and val lie on the network's device. The recipe's loss is resolved (not `auto`).
    A listener that sends STOP ends the training: after the epoch when it answers `EpochEnded`, at once when it
    answers `Progress`; `Finished` follows all the same.
    Data order, augmentation and dropout come from the recipe's seed; torch's global generator is seeded with it.
    Raises TrainingError: the loss is no longer finite.
    """
    started = time.perf_counter()
    validate_seconds = 0.0
    torch.manual_seed(recipe.seed)
    device = train.images.device
    steps = make_steps(network, recipe, train.images, n_classes)
    feed = Feed(train.images, train.labels, train.rows, recipe.augmentation, recipe.seed)
    n, size = len(train.rows), recipe.batch_size
    per_epoch = -(-n // size)
    length = Length(recipe, per_epoch)
    average = WeightAverage(network, update_steps(recipe.weight_averaging, recipe.epochs * per_epoch))
    losses = torch.zeros(per_epoch, device=device)  # read back at ticks only: no synchronisation per batch
    correct = torch.zeros((), dtype=torch.int64, device=device)
    history: list[HistoryRow] = []
    stopped = False

    def trained_seconds() -> float:
        return time.perf_counter() - started - validate_seconds

    for epoch in itertools.count(1):
        epoch_started = last_tick = time.perf_counter()
        feed.shuffle()
        correct.zero_()
        before = (epoch - 1) * per_epoch
        done = 0  # steps of this epoch taken
        while done < per_epoch and not stopped:
            part_started = time.perf_counter()
            ahead = min(length.next_part, average.until_update(before + done) or length.next_part)
            part = range(done, min(done + ahead, per_epoch))
            rates = length.rates(before + done, len(part), trained_seconds())
            part_losses, part_correct = steps.take(*feed.take(len(part) * size), rates)
            losses[part.start : part.stop] = part_losses
            correct += part_correct
            done = part.stop
            if before + done in average.steps:
                steps.write_back()
                average.update()
            length.took(len(part), time.perf_counter() - part_started)
            if recipe.seconds is not None and length.over(epoch, trained_seconds()):
                break
            if time.perf_counter() - last_tick > lengths.TICK_SECONDS / 2 and done < per_epoch:
                last_tick = time.perf_counter()
                _check_finite(losses[:done], epoch, recipe)
                answer = yield Progress(
                    epoch,
                    length.epochs(epoch),
                    done,
                    per_epoch,
                    losses[:done].mean().item(),
                    correct.item() / (done * size),
                )
                stopped = answer == STOP
        if stopped:
            break
        _check_finite(losses[:done], epoch, recipe)
        steps.write_back()
        seen = min(done * size, n)  # less than all where the seconds ended inside the epoch
        weights = torch.full_like(losses[:done], size)
        weights[-1] = seen - (done - 1) * size  # the last batch may be short
        row = HistoryRow(
            epoch=epoch,
            loss=(losses[:done] @ weights).item() / seen,
            accuracy=correct.item() / seen,
            val_loss=0.0,
            val_accuracy=0.0,
            seconds=time.perf_counter() - epoch_started,
        )
        validate_started = time.perf_counter()
        with average.averaged():
            predict = partial(predict_logits, network) if average.updates else steps.predict
            logits = torch.cat([predict(val.images[rows]) for rows in val.rows.split(PREDICT_BLOCK)])
            row.update(_validate(logits, val.labels[val.rows], recipe))
            validate_seconds += time.perf_counter() - validate_started
            if not math.isfinite(row["val_loss"]):  # the last step broke the weights: no later batch shows it
                raise _not_finite(row["val_loss"], epoch, per_epoch, recipe)
            history.append(row)
            stopped = (yield EpochEnded(row, length.epochs(epoch), network)) == STOP
        if stopped or length.over(epoch, trained_seconds()):
            break

    steps.write_back()
    average.settle()
    fit_seconds = time.perf_counter() - started - validate_seconds
    yield Finished(network, tuple(history), fit_seconds, validate_seconds, steps.used)


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


def _validate(logits: Tensor, labels: Tensor, recipe: Recipe) -> HistoryRow:
    smoothing = recipe.loss.label_smoothing
    row = {
        "val_loss": F.cross_entropy(logits, labels, label_smoothing=smoothing).item(),
        "val_accuracy": (logits.argmax(dim=1) == labels).float().mean().item(),
    }
    if recipe.top_k:
        top = logits.topk(min(recipe.top_k, logits.shape[1]), dim=1).indices
        row["val_top_k_accuracy"] = (top == labels[:, None]).any(dim=1).float().mean().item()
    return row  # type: ignore[return-value]
