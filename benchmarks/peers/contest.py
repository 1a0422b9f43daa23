"""What every contestant's script shares: what it is asked, and the two lines of JSON that it answers with.

Needs numpy and the standard library only, so that it runs in every environment.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BATCH_SIZES = (100, 1000, 10_000)  # of predicting; the best of each contestant is among them, see README.md
PREDICT_TIMES = 3
COMPARED = 100  # test images whose probabilities are compared between batch sizes, one at a time included
UNDERSTOOD = {"name", "description", "epochs", "batch_size", "optimizer", "validation", "layers"}

Predict = Callable[[int, int], np.ndarray]  # (n, batch size) -> probs (n, K) of the first n test images


@dataclass(frozen=True)
class Lesson:
    """What to train.

    recipe:   a recipe's TOML file.
    settings: "key=value", laid over the recipe; only misread knows them.
    data:     an .npz with Keras's keys, images uint8 (N, H, W) or (N, H, W, C).
    """

    recipe: Path
    data: Path
    epochs: int
    seed: int
    settings: list[str]


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    epoch_seconds: of every epoch in order, validation excluded.
    fit_seconds:   from arrays in memory to final weights, set-up and compilation included, validation excluded.
    test_accuracy: in [0, 1], after the last epoch.
    predict:       the fastest way to predict many images that the library documents.
    note:          what else whoever reads the numbers should know.
    """

    epoch_seconds: list[float]
    fit_seconds: float
    test_accuracy: float
    versions: dict[str, str]
    n_test: int
    predict: Predict
    note: str = ""


def contest(train: Callable[[Lesson], Outcome]) -> None:
    """Train the lesson that the command line names and print a line of JSON; then predict, and print another."""
    outcome = train(_lesson())
    answer(
        epoch_seconds=outcome.epoch_seconds,
        first_epoch_seconds=outcome.epoch_seconds[0],
        fit_seconds=outcome.fit_seconds,
        test_accuracy=outcome.test_accuracy,
        peak_rss_bytes=peak_rss_bytes(),
        note=outcome.note,
        versions={**outcome.versions, "python": platform.python_version()},
    )
    answer(**time_predict(outcome.predict, outcome.n_test))


def answer(**content: Any) -> None:
    print(json.dumps(content), flush=True)


def time_predict(predict: Predict, n: int) -> dict[str, Any]:
    """Images a second, warm, at the best batch size, and how far probabilities depend on the batch size."""
    seconds = {}
    for batch_size in BATCH_SIZES:
        predict(n, batch_size)  # the first time compiles
        seconds[batch_size] = statistics.median(_seconds(predict, n, batch_size) for _ in range(PREDICT_TIMES))
    best = min(seconds, key=seconds.__getitem__)
    probs = np.stack([predict(n, size)[:COMPARED] for size in BATCH_SIZES] + [predict(COMPARED, 1)])
    return {
        "predict_images_per_second": n / seconds[best],
        "predict_batch_size": best,
        "predict_seconds": seconds,
        "predict_largest_difference": float(np.ptp(probs, axis=0).max()),
    }


def _seconds(predict: Predict, n: int, batch_size: int) -> float:
    started = time.perf_counter()
    predict(n, batch_size)
    return time.perf_counter() - started


def in_batches(call: Callable[[Any], Any], images: Any) -> Predict:
    """Predicting by calling a function of a batch of images, batch after batch."""

    def predict(n: int, batch_size: int) -> np.ndarray:
        starts = range(0, n, batch_size)
        return np.concatenate([np.asarray(call(images[i : min(i + batch_size, n)])) for i in starts])

    return predict


def read_recipe(lesson: Lesson) -> dict[str, Any]:
    """The recipe's TOML. Raises ValueError: it asks for something that a peer would silently leave out."""
    recipe = tomllib.loads(lesson.recipe.read_text(encoding="utf-8"))
    if unknown := recipe.keys() - UNDERSTOOD:
        raise ValueError(f"{lesson.recipe.name} has {', '.join(sorted(unknown))}, which the peers cannot do yet")
    return recipe


def read_data(lesson: Lesson) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels: float32 (N, H, W, C) in [0, 1] and int64 (N,)."""
    with np.load(lesson.data) as arrays:
        return (
            as_input(arrays["x_train"]),
            arrays["y_train"].astype(np.int64),
            as_input(arrays["x_test"]),
            arrays["y_test"].astype(np.int64),
        )


def as_input(images: np.ndarray) -> np.ndarray:
    """Images without channels get one."""
    return images.reshape(*images.shape, *[1] * (4 - images.ndim)).astype(np.float32) / 255


def hide(*packages: str) -> None:
    """Make a library find only what it would find where it was installed alone: some import whatever there is."""
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None makes an import fail


def _lesson() -> Lesson:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE")
    return Lesson(**vars(parser.parse_args()))


def peak_rss_bytes() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # there getrusage would count what the process was before it became this program
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
