"""What the peers for photographs share: they train for a number of seconds, and answer with a line of JSON."""

import argparse
import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contest import answer, peak_rss_bytes


@dataclass(frozen=True)
class Photographs:
    """uint8 images (N, H, W, C) and int64 labels to train on and to test with, the seconds of training, the network."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    seconds: float
    seed: int
    network: str

    @property
    def n_classes(self) -> int:
        return int(self.labels.max()) + 1


class Countdown:
    """The clock of a training. `rate` follows half a cosine over its seconds, after a short linear warm-up."""

    WARM_UP = 0.05

    def __init__(self, seconds: float) -> None:
        self.seconds, self.started = seconds, time.perf_counter()

    @property
    def share(self) -> float:
        return (time.perf_counter() - self.started) / self.seconds

    @property
    def over(self) -> bool:
        return self.share >= 1

    def rate(self, highest: float) -> float:
        share = min(self.share, 1.0)
        if share < self.WARM_UP:
            return highest * (share + 0.01) / (self.WARM_UP + 0.01)
        return highest * (1 + math.cos(math.pi * (share - self.WARM_UP) / (1 - self.WARM_UP))) / 2


def contest(train: Callable[[Photographs], tuple[np.ndarray, float, dict[str, str], str]]) -> None:
    """Train, and print the outcome as JSON.

    train: returns the predicted classes of the test images, the training's seconds, versions, and what it trained.
    """
    photographs = _read()
    predicted, fit_seconds, versions, note = train(photographs)
    content: dict[str, Any] = {
        "accuracy": float((predicted == photographs.test_labels).mean()),
        "fit_seconds": fit_seconds,
        "peak_rss_bytes": peak_rss_bytes(),
        "note": note,
        "versions": {**versions, "python": platform.python_version()},
    }
    answer(**content)


def _read() -> Photographs:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="an .npz with Keras's keys")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--network", choices=["cnn", "resnet"], required=True)
    args = parser.parse_args()
    with np.load(args.data) as arrays:
        x_train, y_train, x_test, y_test = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    train, test = (x_train, y_train.astype(np.int64)), (x_test, y_test.astype(np.int64))
    return Photographs(*train, *test, args.seconds, args.seed, args.network)
