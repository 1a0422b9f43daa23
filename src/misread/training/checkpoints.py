"""Checkpoints: the state of a training on disk, so that it can be resumed where it was."""

import time
from pathlib import Path

from misread import files
from misread.errors import RunError
from misread.training.callbacks import Callback
from misread.training.events import EpochEnded, StepsDone
from misread.training.session import TrainState
from misread.training.state_file import read_state, state_bytes

EVERY_SECONDS = 15.0  # between checkpoints inside a long epoch
TIME_SHARE = 0.02  # of the time, which writing checkpoints may take: short epochs get one every few epochs
WRITE_SPEED = 1e8  # bytes a second, hashing included, until the first checkpoint is measured
KEPT = 2  # the last ones: should one be damaged, the other still is there


class Checkpoints(Callback):
    """Writes a checkpoint at the ends of epochs, every so many seconds inside a long one, and where it is interrupted.

    folder: holds the checkpoints and what the training began with. The last two checkpoints are kept.
    weight_bytes: size of the network's weights, from which the time for the first checkpoint is estimated.
    Give it after the callbacks that change the state: it writes what they leave.
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
        started, state = time.monotonic(), event.state
        state.capture(event.backend)
        self.folder.mkdir(exist_ok=True)
        files.write_bytes(self.folder / _name(state), state_bytes(state))
        for old in find_checkpoints(self.folder)[:-KEPT]:
            old.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._cost = self._written - started


def _name(state: TrainState) -> str:
    return f"member-{state.member:03}-epoch-{state.epoch:06}-step-{state.step:08}.safetensors"


def find_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the furthest one last. Files that are still being written do not count."""
    return sorted(folder.glob("member-*.safetensors"))


def read_checkpoint(folder: Path) -> TrainState:
    """The furthest state that can be read. Raises RunError: there is none."""
    found = find_checkpoints(folder)
    problem = f"There is no checkpoint in {folder}."
    for path in reversed(found):
        try:
            return read_state(path.read_bytes(), str(path))
        except (OSError, RunError) as error:
            problem = str(error)
    raise RunError(problem)
