"""Tells a page how a training goes: a callback that sends events, from five a second at first to one a second."""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from misread.data.image_set import Split
from misread.runs.prepare import TrainingSplits
from misread.studio.network_view import SAMPLE, NetworkView
from misread.training.callbacks import Callback
from misread.training.events import EpochEnded, Event, StepsDone
from misread.training.recipe import Recipe
from misread.training.session import HistoryRow, TrainState

# An event costs the browser about 25 ms of a processor, which the training may lack. So events become rarer: the
# seconds between two of them are this share of the training's seconds so far, within these bounds.
EVENT_SHARE, SHORTEST, LONGEST = 0.1, 0.2, 1.0
PICTURES_EVERY = 5  # such intervals between two events with pictures
TIME_SHARE = 0.01  # of the time, for looking at the network: a large one is looked at less often
LOSSES = 4  # points of the loss curve in an event
PICTURES = 18  # misread images of each kind in an event
PICTURE_SIDE = 64  # pixels; larger pictures are sent with fewer

Send = Callable[[dict[str, Any]], None]


class Observer(Callback):
    """Sends events of type `progress` with what is new since the last one; see `_progress` and `_misreads`.

    send: called with plain values.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._view: NetworkView | None = None
        self._val: Split | None = None
        self._n_train = 0
        self._before: np.ndarray | None = None  # the predictions of the epoch before the last
        self._sent = self._looked = self._pictured = -float("inf")
        self._look_cost = 0.0
        self._seen = (0, 0, 0)  # epoch, steps and correct predictions up to which losses are in `_losses`
        self._measured = (0, 0.0)  # images and training seconds at the last event
        self._images = 0
        self._clear()

    def begin(self, recipe: Recipe, image_shape: tuple[int, int, int], n_classes: int, splits: TrainingSplits) -> None:
        """Before the training."""
        val = splits.val
        self._val, self._n_train = val, len(splits.train)
        if recipe.backbone is None:
            sample = np.asarray(val.images[np.arange(min(SAMPLE, len(val)))])
            self._view = NetworkView(recipe, image_shape, n_classes, sample)

    def on_start(self, state: TrainState) -> None:
        self._measured = 0, state.clock.fit_seconds

    def on_steps(self, event: StepsDone) -> None:
        self._record_steps(event)
        now = time.monotonic()
        if now - self._sent >= _interval(event) or event.state.single_steps or event.state.stopped:
            self._flush(event, now)

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._rows.append(event.row)
        predictions = event.predictions.cpu().numpy()
        now = time.monotonic()
        last = event.state.stopped or event.row["epoch"] >= event.epochs
        if last or now - self._pictured >= PICTURES_EVERY * _interval(event):
            self._news["misreads"] = self._misreads(predictions, event.row["epoch"])
            self._pictured = now
        self._before = predictions
        if last or now - self._sent >= _interval(event):
            self._flush(event, now)

    def on_end(self, state: TrainState) -> None:
        self.send_rest()

    def send_rest(self) -> None:
        """Send what has not been sent yet."""
        if self._rows or self._losses:
            self._send({"type": "progress", **self._news, **self._curves()})
        self._clear()

    def _record_steps(self, event: StepsDone) -> None:
        """Add the steps since the last call to the curves."""
        epoch, steps, correct = self._seen
        if epoch != event.epoch:
            steps = correct = 0
        new = event.state.losses[steps:].cpu()
        first = (event.epoch - 1) * event.steps + steps
        for part in torch.arange(len(new)).tensor_split(min(LOSSES, len(new))):
            self._losses.append([first + int(part[-1]) + 1, round(float(new[part].mean()), 5)])
        before, after = (min(n * event.batch_size, self._n_train) for n in (steps, event.step))
        images = after - before  # the last batch may be short
        self._accuracies.append([first + len(new), round((event.state.correct - correct) / images, 5)])
        self._images += images
        self._seen = event.epoch, event.step, event.state.correct
        self._news["now"] = self._now(event)

    def _now(self, event: StepsDone) -> dict[str, Any]:
        """Where the training is. rate: the learning rate of the last step. factor: that the user chose."""
        clock = event.state.clock
        images, seconds = self._images - self._measured[0], clock.fit_seconds - self._measured[1]
        done = (event.epoch - 1) * event.steps + event.step
        used = clock.fit_seconds + clock.validate_seconds
        return {
            "epoch": event.epoch, "epochs": event.epochs, "step": event.step, "steps": event.steps,
            "loss": event.loss, "accuracy": event.accuracy, "rate": event.rate, "factor": event.state.rate_factor(),
            "images_per_second": images / seconds if seconds > 0 else None,
            "seconds": used, "seconds_left": used / done * (event.epochs * event.steps - done),
        }  # fmt: skip

    def _flush(self, event: Event, now: float) -> None:
        self._look(event, now)
        self._measured = self._images, event.state.clock.fit_seconds
        self._send({"type": "progress", **self._news, **self._curves()})
        self._sent = now
        self._clear()

    def _clear(self) -> None:
        self._losses: list[list[float]] = []
        self._accuracies: list[list[float]] = []
        self._rows: list[HistoryRow] = []
        self._news: dict[str, Any] = {}

    def _curves(self) -> dict[str, Any]:
        return {"losses": self._losses, "accuracies": self._accuracies, "rows": self._rows}

    def _look(self, event: Event, now: float) -> None:
        """Look at the network, if that is due."""
        due = max(PICTURES_EVERY * _interval(event), self._look_cost / TIME_SHARE)
        if self._view is None or not (event.state.single_steps or now - self._looked >= due):
            return
        weights = event.backend.weights()
        self._news |= {"weights": self._view.first_layer(weights), "dead": self._view.dead_units(weights)}
        self._look_cost = time.monotonic() - now
        self._looked = now

    def _misreads(self, predictions: np.ndarray, epoch: int) -> dict[str, Any]:
        """The validation images that are misread now, and which were mended and newly broken in this epoch.

        rows: the positions of the misread images in the validation split. pictures: some of each kind, (with) label,
        earlier and present prediction, and pixels as base64 of uint8 (H, W, C).
        """
        assert self._val is not None
        wrong = predictions != self._val.labels
        was_wrong = wrong if self._before is None else self._before != self._val.labels
        kinds = {"broken": wrong & ~was_wrong, "mended": ~wrong & was_wrong, "misread": wrong}
        return {
            "epoch": epoch,
            "n": len(wrong),
            "rows": np.flatnonzero(wrong).tolist(),
            "counts": {name: int(chosen.sum()) for name, chosen in kinds.items()},
            "pictures": {name: list(self._pictures(chosen, predictions)) for name, chosen in kinds.items()},
        }

    def _pictures(self, chosen: np.ndarray, predictions: np.ndarray) -> Iterator[dict[str, Any]]:
        assert self._val is not None
        for row in np.flatnonzero(chosen)[:PICTURES].tolist():
            image = np.asarray(self._val.images[row])
            stride = -(-max(image.shape[:2]) // PICTURE_SIDE)
            small = np.ascontiguousarray(image[::stride, ::stride])
            yield {
                "row": row,
                "label": int(self._val.labels[row]),
                "before": None if self._before is None else int(self._before[row]),
                "now": int(predictions[row]),
                "shape": list(small.shape),
                "pixels": b64encode(small.tobytes()).decode(),
            }


def _interval(event: Event) -> float:
    """Seconds between two events now."""
    clock = event.state.clock
    return min(LONGEST, max(SHORTEST, EVENT_SHARE * (clock.fit_seconds + clock.validate_seconds)))
