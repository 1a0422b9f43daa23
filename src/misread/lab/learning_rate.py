"""`find_learning_rate`: trains while the learning rate grows, and suggests a rate by the training loss.

Source: the range test of Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), with a
rate that grows by the same factor in each step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from misread.errors import RecipeError, TrainingError
from misread.figures.learning_rate import learning_rate_figure
from misread.figures.style import Picture
from misread.runs.prepare import prepare
from misread.training.backend import Backend
from misread.training.batches import Batches
from misread.training.device import using_threads
from misread.training.optimizers import learning_rate_factor
from misread.training.recipe import Recipe, Settings, parse_settings

LOW, HIGH, STEPS = 1e-6, 10.0, 200
FEWEST_STEPS = 20
TICK = 5  # steps at a time
SMOOTHING = 0.8  # the weight of the earlier losses in the smoothed loss
DIVERGED = 4.0  # times the lowest smoothed loss: the test ends
FALL = 0.98
FALLS = 0.95  # the lowest smoothed loss is at most this share of that at the start; else the network learnt nothing


@dataclass(frozen=True)
class LearningRates:
    """The course of a range test. S is the number of steps taken.

    rates:      (S,) float64. losses: (S,) float64, the training loss of each step.
    smoothed:   (S,) float64, the exponential moving mean of the losses, taken forwards and then backwards.
    bottom:     the smallest rate at which 98% of the smoothed loss's fall is done. Higher rates gain little.
    suggestion: `bottom` divided by the mean of the recipe's schedule, so that it is the mean rate of the training.
    diverged:   whether the test ended because the loss grew, before the highest rate.
    current:    the recipe's own learning rate.
    """

    recipe: str
    data: str
    engine: str
    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    bottom: float
    diverged: bool
    current: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        arrays = {name: getattr(self, name).tolist() for name in ("rates", "losses", "smoothed")}
        return {**vars(self), **arrays}

    def figure(self) -> Picture:
        """The losses against the rate, with the suggestion marked."""
        return learning_rate_figure(
            self.rates, self.losses, self.smoothed, self.suggestion, self.current, f"{self.recipe} on {self.data}"
        )

    def __str__(self) -> str:
        mean = "" if self.suggestion == self.bottom else f"; the schedule's mean is {self.bottom / self.suggestion:.2f}"
        return (
            f"{self.recipe} on {self.data}: learning rate {self.suggestion:.2g}. The smoothed training loss has done "
            f"{FALL:.0%} of its fall at {self.bottom:.2g}{mean}. The recipe has {self.current:g}."
        )


def find_learning_rate(
    data: Any,
    recipe: str | Path | Recipe | None = None,
    *,
    settings: Settings = (),
    low: float = LOW,
    high: float = HIGH,
    steps: int = STEPS,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[int], None] = lambda step: None,
) -> LearningRates:
    """Train for `steps` steps, at rates that grow from `low` to `high`, and suggest `optimizer.learning_rate`.

    Only training images are used, and only their loss: validation and test images are not looked at. The schedule of
    the recipe is left out. The network is then dropped. data, recipe, settings, device, threads: as for `train`.
    progress: called with the number of steps that are done.
    Raises RecipeError: rates or steps that cannot be used. Raises the errors of `train`.
    Raises TrainingError: the loss fell at no rate.
    """
    if not 0 < low < high <= 1e6:
        raise RecipeError(f"The rates {low:g} to {high:g} are not a range. Use 0 < low < high, at most 1e6.")
    if steps < FEWEST_STEPS:
        raise RecipeError(f"With {steps} there are too few steps to see a trend. Use {FEWEST_STEPS} or more.")
    with using_threads(threads), torch.random.fork_rng(devices=[]):
        job = prepare(data, recipe, settings=parse_settings(settings), device=device)
        backend = job.backend(0, job.recipe.member_seed(0))
        batches = Batches(job.examples()[0], job.recipe, job.recipe.member_seed(0))
        rates = np.geomspace(low, high, steps)
        losses, diverged = _losses(backend, batches, rates, job.recipe.image_scales[0], progress)
    smoothed = smooth(smooth(losses)[::-1])[::-1]  # from both ends, so that it is not late
    bottom = bottom_rate(rates[: len(losses)], smoothed)
    mean = np.mean([learning_rate_factor(job.recipe.schedule, step, steps) for step in range(steps)])
    return LearningRates(
        job.recipe.name, job.data.name, backend.capabilities.name, rates[: len(losses)], losses, smoothed,
        float(bottom / mean), bottom, diverged, job.recipe.optimizer.learning_rate,
    )  # fmt: skip


def _losses(
    backend: Backend, batches: Batches, rates: np.ndarray, scale: float, progress: Callable[[int], None]
) -> tuple[np.ndarray, bool]:
    """The loss of each step until it diverges, and whether it did."""
    losses = np.empty(0)
    while (done := len(losses)) < len(rates):
        epoch, step = divmod(done, batches.steps_per_epoch)
        count = min(TICK, len(rates) - done, batches.steps_per_epoch - step)
        batch = batches.take(epoch, step, count, scale)
        new, _ = backend.step(batch, rates[done : done - (-len(batch.rows) // batch.size)].tolist())
        losses = np.concatenate([losses, new.double().cpu().numpy()])
        progress(len(losses))
        if (end := _diverges_at(losses)) is not None:
            return losses[:end], True
    return losses, False


def _diverges_at(losses: np.ndarray) -> int | None:
    """The number of steps before the loss is not finite, or the smoothed loss is `DIVERGED` times its minimum."""
    if not np.isfinite(losses).all():
        return int(np.argmin(np.isfinite(losses)))
    smoothed = smooth(losses)
    grown = smoothed > DIVERGED * np.minimum.accumulate(smoothed)
    return int(np.argmax(grown)) if grown.any() else None


def smooth(losses: np.ndarray) -> np.ndarray:
    """(S,) float64: the exponential moving mean, divided by the sum of its weights as in Adam."""
    smoothed, mean = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed[i] = mean / (1 - SMOOTHING ** (i + 1))
    return smoothed


def bottom_rate(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """The smallest rate at which the loss has done `FALL` of its fall. Raises TrainingError: it does not fall."""
    start = smoothed[: max(len(smoothed) // 10, 1)].mean() if len(smoothed) else 0.0
    if len(smoothed) < 2 or smoothed.min() > FALLS * start:
        raise TrainingError(
            f"The training loss falls at no learning rate from {rates[0] if len(rates) else 0:g} on, so none can be "
            "suggested.\nTry other rates with --low and --high, more steps, or another network."
        )
    return float(rates[np.argmax(smoothed <= start - FALL * (start - smoothed.min()))])
