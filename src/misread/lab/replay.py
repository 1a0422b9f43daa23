"""Replays the whole test split with an exported file, and compares the result with the run's own predictions."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from misread.data.mapped_images import Images
from misread.errors import ExportError
from misread.lab.formats import Limits, Predict

BLOCK_BYTES = 2**21  # of images predicted at once; each view of an image takes as much again, and as float32
MAX_BLOCK = 500  # images


@dataclass(frozen=True)
class Replay:
    """The predictions of an exported file beside those of its run.

    images:     the number of images. seconds: for predicting them all.
    difference: the largest difference of a probability; infinite if one is no number.
    changed:    the number of images whose predicted class is another.
    accuracy:   of the exported file. accuracy_before: of the run.
    """

    images: int
    difference: float
    changed: int
    accuracy: float
    accuracy_before: float
    seconds: float

    def within(self, limits: Limits) -> bool:
        return (
            self.difference <= limits.difference
            and self.changed <= limits.changed * self.images
            and self.accuracy_before - self.accuracy <= limits.accuracy_loss
        )

    def __str__(self) -> str:
        return (
            f"{self.images:,} test images: {self.changed:,} predicted classes changed, a probability by up to "
            f"{self.difference:.1e}; accuracy {self.accuracy:.2%}, of the run {self.accuracy_before:.2%}"
        )


def replay(predict: Predict, images: Images, labels: np.ndarray, probs: np.ndarray) -> Replay:
    """Predict all images, and compare.

    images: (N, H, W, C) uint8. labels: (N,) int64. probs: (N, K) float32, the run's own predictions.
    Raises ExportError: the file gives arrays of another shape.
    """
    difference, changed, correct, seconds, start = 0.0, 0, 0, 0.0, 0
    for block in _blocks(images):
        part = slice(start, start + len(block))
        started = time.perf_counter()
        found = predict(block)
        seconds += time.perf_counter() - started
        if found.shape != probs[part].shape:
            raise ExportError(
                f"The exported file gives {found.shape} for {len(block)} images, but must give {probs[part].shape}."
            )
        largest = float(np.abs(found - probs[part]).max())
        difference = max(difference, largest if math.isfinite(largest) else math.inf)
        predicted = found.argmax(axis=1)
        changed += int((predicted != probs[part].argmax(axis=1)).sum())
        correct += int((predicted == labels[part]).sum())
        start = part.stop
    before = float((probs.argmax(axis=1) == labels).mean())
    return Replay(len(labels), difference, changed, correct / len(labels), before, seconds)


def _blocks(images: Images) -> Iterator[np.ndarray]:
    size = max(1, min(MAX_BLOCK, BLOCK_BYTES // math.prod(images.shape[1:])))
    for start in range(0, len(images), size):
        yield np.ascontiguousarray(images[start : start + size])
