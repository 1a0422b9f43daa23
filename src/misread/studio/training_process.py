"""The process of one training: `python -m misread.studio.training_process`.

The first line of standard input is the job, see `Job`; every further line is a command. Standard output has the events,
one JSON object a line. The training is that of `misread.train`; this module only adds callbacks.
"""

import json
import os
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from misread.data.image_set import ImageSet
from misread.errors import MisreadError
from misread.models.summary import Summary
from misread.runs.prepare import TrainingSplits
from misread.runs.progress import Progress
from misread.runs.run import Run
from misread.runs.train import resume, train
from misread.studio.runs import run_id
from misread.studio.training_job import Job
from misread.studio.training_observer import Observer, Send
from misread.training.callbacks import Callback
from misread.training.events import StepsDone
from misread.training.recipe import Recipe
from misread.training.session import INTERRUPTED, TrainState

STOPPED = "stopped in the studio"


class Commands(Callback):
    """Obeys the commands between two events of the training, and waits there while it is paused.

    Commands: {"command": "pause" | "step" | "resume" | "stop" | "interrupt"}, and {"command": "rate", "rate": r}: the
    learning rate of the recipe becomes r from the next step on.
    """

    def __init__(self, lines: TextIO, send: Send, observer: Observer, paused: bool) -> None:
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._send, self._observer, self._paused, self._recipe_rate = send, observer, paused, 1.0
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def begin(self, recipe: Recipe) -> None:
        self._recipe_rate = recipe.optimizer.learning_rate

    def on_start(self, state: TrainState) -> None:
        self._send({"type": "state", "state": "running"})
        self._obey(state)

    def on_steps(self, event: StepsDone) -> None:
        self._obey(event.state)

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            self._queue.put(json.loads(line))
        self._queue.put({"command": "interrupt"})  # the server has ended

    def _obey(self, state: TrainState) -> None:
        """Do the commands that wait; during a pause also those that come, until one continues the training."""
        if self._paused:
            self._pause()
        while not state.stopped and (self._paused or not self._queue.empty()):
            command = self._queue.get()
            self._do(state, command)
            if command["command"] == "step":
                break  # a second one that waits is another step
        state.single_steps = self._paused

    def _do(self, state: TrainState, command: dict[str, Any]) -> None:
        match command["command"]:
            case "pause":
                self._pause()
            case "step":
                self._paused = True
            case "resume":
                self._paused = False
                self._send({"type": "state", "state": "running"})
            case "rate":
                state.change_rate(command["rate"] / self._recipe_rate)
                self._send({"type": "rate", "rate": command["rate"], "factor": state.rate_factor()})
            case "stop":
                state.stop(STOPPED)
            case "interrupt":
                state.stop(INTERRUPTED)

    def _pause(self) -> None:
        self._paused = True
        self._observer.send_rest()
        self._send({"type": "state", "state": "paused"})


class Announcements(Progress):
    """Sends what is known before the training, and its result."""

    def __init__(self, send: Send, observer: Observer, commands: Commands) -> None:
        self._send, self._observer, self._commands = send, observer, commands
        self.lines = lambda line: send({"type": "note", "text": line})

    def chosen(self, recipe: Recipe, why: str) -> None:
        self._send({"type": "note", "text": f"{recipe.name}: {why}"})

    def started(self, data: ImageSet, recipe: Recipe, summary: Summary, splits: TrainingSplits) -> None:
        self._observer.begin(recipe, data.image_shape, len(data.class_names), splits)
        self._commands.begin(recipe)
        self._send(
            {
                "type": "started",
                "data": {
                    "name": data.name, "class_names": list(data.class_names), "image_shape": list(data.image_shape),
                    "n_train": len(splits.train), "n_val": len(splits.val), "validation": splits.validation,
                },
                "recipe": recipe.model_dump(mode="json"),
                "parameters": summary.parameters,
                "rate": recipe.optimizer.learning_rate,
            }
        )  # fmt: skip

    def on_end(self, state: TrainState) -> None:
        self._send({"type": "state", "state": "evaluating"})

    def finished(self, run: Run) -> None:
        record = run.record
        self._send(
            {
                "type": "finished",
                "run": run_id(run.folder),
                "folder": str(run.folder),
                "status": record.status,
                "stopped": record.stopped,
                "epochs_trained": record.epochs_trained,
                "rate_changes": [change.model_dump() for change in record.rate_changes],
                "metrics": record.metrics,
            }
        )


def carry_out(job: Job, commands: TextIO, send: Send) -> int:
    """Train, and send the events. Returns the exit code."""
    observer = Observer(send)
    obeys = Commands(commands, send, observer, job.paused)
    common: dict[str, Any] = {"callbacks": [observer, obeys], "progress": Announcements(send, observer, obeys)}
    try:
        if job.resume:
            resume(job.resume, **common)
        else:
            train(job.data, job.recipe, settings=job.settings, label_patch=job.label_patch, out=Path(job.out), **common)
    except MisreadError as error:
        send({"type": "failed", "message": str(error)})
        return error.exit_code
    except Exception as error:
        traceback.print_exc()
        send({"type": "failed", "message": f"{type(error).__name__}: {error}"})
        return 1
    return 0


def main() -> int:
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed must not mix with the events
    lock = threading.Lock()

    def send(event: dict[str, Any]) -> None:
        with lock:
            try:
                events.write(json.dumps(event, allow_nan=False) + "\n")
                events.flush()
            except BrokenPipeError:
                pass  # the server has ended; the training is interrupted through the commands

    return carry_out(Job(**json.loads(sys.stdin.readline())), sys.stdin, send)


if __name__ == "__main__":
    sys.exit(main())
