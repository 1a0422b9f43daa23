"""How pixels 0..255 become the input of a network from elsewhere, found by trying the usual ways on labelled images."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from misread.data.image_set import ImageSet, Split
from misread.data.mapped_images import Images
from misread.errors import RunError
from misread.names import nearest

TRIAL_IMAGES = 2000
STATISTICS_BLOCK = 5000  # images whose mean and deviation are summed at once
CLEAR = 0.05  # by how much the loss of the chosen scaling has to be below the next for a clear choice

WAYS = {
    "raw": "pixels as they are, 0 to 255",
    "unit": "pixels / 255, 0 to 1",
    "symmetric": "pixels / 127.5 - 1, -1 to 1",
    "standardised": "each channel with mean 0 and standard deviation 1 over the training images",
}


@dataclass(frozen=True)
class Scaling:
    """pixels * scale + offset, for each channel; `name` is one of `WAYS`."""

    name: str
    scale: np.ndarray
    offset: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> the same float32."""
        return images.astype(np.float32) * self.scale + self.offset


@dataclass(frozen=True)
class ScalingTrial:
    """What each scaling gives on labelled images that are no test images.

    rows: `scaling`, `accuracy`, `loss`, the best first: of those whose accuracy is the highest within chance, the one
          with the smallest loss. n: images of `split`. chance: two standard errors of the highest accuracy.
    """

    rows: tuple[Mapping[str, Any], ...]
    n: int
    split: str
    chance: float

    @property
    def chosen(self) -> str:
        return str(self.rows[0]["scaling"])

    @property
    def clear(self) -> bool:
        """Whether the next is less accurate by more than chance, or has a loss that is higher by more than `CLEAR`."""
        best, second = self.rows[0], self.rows[1]
        return bool(best["accuracy"] - second["accuracy"] > self.chance or second["loss"] - best["loss"] > CLEAR)

    def text(self) -> str:
        """The choice and by how much it fits better, in a line."""
        best, second = self.rows[0], self.rows[1]
        images = {"train": "training", "val": "validation"}[self.split]
        line = (
            f"scaling {best['scaling']} ({WAYS[best['scaling']]}): {best['accuracy']:.2%} of {self.n:,} {images} "
            f"images right, loss {best['loss']:.3g}; next {second['scaling']}: {second['accuracy']:.2%}, "
            f"loss {second['loss']:.3g}"
        )
        return line if self.clear else f"{line}. The two hardly differ: name the one of the training with --scaling"

    def to_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen, "clear": self.clear, "n": self.n, "split": self.split, "trials": list(self.rows)}


def check_scaling(name: str) -> None:
    """Raises RunError: there is no such scaling."""
    if name not in WAYS:
        raise RunError(f"There is no scaling {name!r}.{nearest(name, WAYS)} The scalings are {', '.join(WAYS)}.")


def make_scaling(name: str, data: ImageSet) -> Scaling:
    """The scaling with this name. data: only `standardised` needs it. Raises RunError: there is none."""
    check_scaling(name)
    channels = data.image_shape[2]
    scale, offset = {"unit": (1 / 255, 0.0), "symmetric": (1 / 127.5, -1.0)}.get(name, (1.0, 0.0))
    if name == "standardised":
        mean, deviation = channel_statistics(data.train.images)
        return Scaling(name, (1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32))
    return Scaling(name, np.full(channels, scale, np.float32), np.full(channels, offset, np.float32))


def channel_statistics(images: Images) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (C,) float64 of the pixels 0..255 of all images; a deviation of 0 is given as 1."""
    counts = np.zeros((images.shape[3], 256))
    for start in range(0, len(images), STATISTICS_BLOCK):
        block = np.asarray(images[start : start + STATISTICS_BLOCK])
        for channel in range(block.shape[3]):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    shares, values = counts / counts.sum(axis=1, keepdims=True), np.arange(256)
    mean = shares @ values
    deviation = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean, np.where(deviation > 0, deviation, 1)


def try_scalings(probs: Callable[[np.ndarray, Scaling], np.ndarray], data: ImageSet) -> ScalingTrial:
    """Predict some validation images, or training images if there are none, with every scaling.

    probs: (images uint8, scaling) -> (N, K) probabilities.
    """
    name = "val" if data.val is not None and len(data.val) else "train"
    sample = _sample(data.split(name))
    images = np.asarray(sample.images)
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        found = probs(images, make_scaling(way, data)).astype(np.float64)
        of_label = found[np.arange(len(found)), sample.labels]
        loss = float(-np.log(np.maximum(of_label, 1e-12)).mean())
        accuracy = float((found.argmax(axis=1) == sample.labels).mean())
        rows.append({"scaling": way, "accuracy": accuracy, "loss": loss})
    # the loss alone would favour large numbers if the network is underconfident, and small ones if it is overconfident
    highest = max(row["accuracy"] for row in rows)
    chance = 2 * math.sqrt(highest * (1 - highest) / len(images))
    order = sorted(rows, key=lambda row: (highest - row["accuracy"] > chance, row["loss"]))
    return ScalingTrial(tuple(order), len(images), name, chance)


def _sample(split: Split) -> Split:
    return split.take(np.linspace(0, len(split) - 1, min(len(split), TRIAL_IMAGES)).astype(int))
