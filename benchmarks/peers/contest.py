"""What every contestant's script shares: what it is asked, and the line of JSON that it answers with.

Needs the standard library only, so that it runs in every environment.
"""

import argparse
import json
import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lesson:
    """What to train. recipe: a recipe's TOML file. data: an .npz with Keras's keys, images uint8 (N, H, W)."""

    recipe: Path
    data: Path
    epochs: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    epoch_seconds: of every epoch in order, validation excluded.
    fit_seconds:   from arrays in memory to final weights, set-up and compilation included, validation excluded.
    test_accuracy: in [0, 1], after the last epoch.
    """

    epoch_seconds: list[float]
    fit_seconds: float
    test_accuracy: float
    versions: dict[str, str]


def contest(train: Callable[[Lesson], Outcome]) -> None:
    """Train the lesson that the command line names and print one line of JSON, the last of standard output."""
    outcome = train(_lesson())
    answer = {
        **asdict(outcome),
        "first_epoch_seconds": outcome.epoch_seconds[0],
        "peak_rss_bytes": _peak_rss_bytes(),
        "versions": {**outcome.versions, "python": platform.python_version()},
    }
    print(json.dumps(answer), flush=True)


def _lesson() -> Lesson:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    return Lesson(**vars(parser.parse_args()))


def _peak_rss_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
