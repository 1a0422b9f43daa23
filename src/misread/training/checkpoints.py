"""Checkpoints: the state of a training on disk, from which it can be resumed."""

import time
from pathlib import Path

from misread import files
from misread.errors import RunError
from misread.training.callbacks import Callback
from misread.training.events import EpochEnded, StepsDone
from misread.training.session import TrainState
from misread.training.state_file import read_state, state_bytes

EVERY_SECONDS = 15.0  # between checkpoints inside a long epoch
TIME_SHARE = 0.02  # of the time, for writing checkpoints: with short epochs, not every epoch gets one
WRITE_SPEED = 1e8  # bytes a second, hashing included, until the first checkpoint is measured
MAX_CHECKPOINTS = 2  # if the last one is damaged, the one before it is used


class Checkpoints(Callback):
    """Writes a checkpoint at the end of epochs, every `EVERY_SECONDS` in long epochs, and at an interruption.

    folder: gets the checkpoints. Only the last two stay.
    weight_bytes: size of the network's weights, from which the time for the first checkpoint is estimated.
    Put it after callbacks that change the state, so that it stores their changes.
    """

    def __init__(self, folder: Path, weight_bytes: int = 0) -> None:
        self.folder = folder
        self._written = time.monotonic()
        self._cost = 3 * weight_bytes / WRITE_SPEED  # seconds for a checkpoint: weights and two moments

    def on_steps(self, event: StepsDone) -> None:
        if event.state.is_interrupted or time.monotonic() - self._written >= EVERY_SECONDS:
            self._write(event)

    def on_epoch_end(self, event: EpochEnded) -> None:
        if event.state.is_interrupted or self._cost <= TIME_SHARE * (time.monotonic() - self._written):
            self._write(event)

    def _write(self, event: StepsDone | EpochEnded) -> None:
        started = time.monotonic()
        event.state.capture(event.backend)
        write_checkpoint(self.folder, event.state)
        self._written = time.monotonic()
        self._cost = self._written - started


def write_checkpoint(folder: Path, state: TrainState) -> None:
    """Write the state, which is complete, into a folder, and remove all but the last two checkpoints there."""
    folder.mkdir(exist_ok=True)
    files.write_bytes(folder / _name(state), state_bytes(state))
    for old in find_checkpoints(folder)[:-MAX_CHECKPOINTS]:
        old.unlink(missing_ok=True)


def _name(state: TrainState) -> str:
    return f"member-{state.member:03}-epoch-{state.epoch:06}-step-{state.step:08}.safetensors"


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the latest last. Files that are still being written are ignored."""
    return sorted(folder.glob("member-*.safetensors"))


def read_checkpoint(folder: Path) -> TrainState:
    """The latest readable state. Raises RunError: there is none."""
    found = find_checkpoints(folder)
    problem = f"There is no checkpoint in {folder}."
    for path in reversed(found):
        try:
            return read_state(path.read_bytes(), str(path))
        except (OSError, RunError) as error:
            problem = str(error)
    raise RunError(problem)
