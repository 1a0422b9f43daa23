"""The queue of trainings: one runs at a time, in a process of its own, and its events go to all pages that listen."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from misread.errors import RunError
from misread.studio.training_job import Job
from misread.studio.training_snapshot import Snapshot

COMMAND = [sys.executable, "-P", "-m", "misread.studio.training_process"]  # -P: no module of the current folder
LINE_BYTES = 2**25  # of an event at most
ERROR_LINES = 30  # of what a process printed, kept for the message
WAITING_EVENTS = 64  # for a slow page; then it gets a snapshot instead
END_SECONDS = 60.0  # to write an interrupted run, when the studio ends
KEPT = 20  # ended trainings in the list
ENDED = ("finished", "interrupted", "failed", "cancelled")


class UnknownTraining(RunError):
    """There is no training of this id."""


@dataclass(eq=False)
class Training:
    """One training in the queue.

    state: queued, starting, running, paused, evaluating; or one of `ENDED`. message: why it failed, or how to resume.
    """

    job: Job
    title: str
    again: str | None = None  # the id of the run that it repeats
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "queued"
    message: str = ""
    snapshot: Snapshot = field(default_factory=Snapshot)
    process: asyncio.subprocess.Process | None = None
    listeners: "set[asyncio.Queue[dict[str, Any]]]" = field(default_factory=set)

    def summary(self) -> dict[str, Any]:
        return {
            "id": self.id, "title": self.title, "state": self.state, "message": self.message, "again": self.again,
            "label_patch": self.job.label_patch is not None,
            "run": self.snapshot.values.get("finished", {}).get("run"),
        }  # fmt: skip

    def whole(self) -> dict[str, Any]:
        """An event with everything so far."""
        return {"type": "snapshot", "training": self.summary(), **self.snapshot.values}

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def add(self, event: dict[str, Any]) -> None:
        """Take an event of the process, and pass it on to the pages."""
        self.snapshot.add(event)
        if event["type"] == "state":
            self.state = event["state"]
        elif event["type"] == "finished":
            self.state = "finished" if event["status"] == "complete" else "interrupted"
            if self.state == "interrupted":
                self.message = f"misread train --resume {event['folder']}"
        elif event["type"] == "failed":
            self.state, self.message = "failed", event["message"]
        self.tell({**event, "training": self.summary()})

    def tell(self, event: dict[str, Any]) -> None:
        for listener in self.listeners:
            if listener.full():  # the page is slow: it gets everything at once, later
                while not listener.empty():
                    listener.get_nowait()
                listener.put_nowait(self.whole())
            else:
                listener.put_nowait(event)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """A snapshot, and then the events until the training has ended."""
        listener: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING_EVENTS)
        listener.put_nowait(self.whole())
        self.listeners.add(listener)
        try:
            while not (self.ended and listener.empty()):
                yield await listener.get()
        finally:
            self.listeners.discard(listener)


class Trainings:
    """The trainings of a studio, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._trainings: list[Training] = []
        self._worker: asyncio.Task[None] | None = None
        self._closing = False

    def all(self) -> list[Training]:
        return list(self._trainings)

    def get(self, id: str) -> Training:
        """Raises UnknownTraining: there is none of this id."""
        found = next((training for training in self._trainings if training.id == id), None)
        if found is None:
            raise UnknownTraining("This training is no longer there. The studio may have been started again.")
        return found

    def add(self, training: Training) -> None:
        """Put a training at the end of the queue. It starts at once if none runs."""
        self._trainings.append(training)
        ended = [training for training in self._trainings if training.ended]
        for old in ended[:-KEPT]:
            self._trainings.remove(old)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())

    async def command(self, id: str, command: dict[str, Any]) -> None:
        """Pass a command on to the process; a training that waits in the queue is cancelled by `stop`.

        Raises UnknownTraining, or RunError: the training does not run.
        """
        training = self.get(id)
        if training.state == "queued" and command["command"] == "stop":
            training.add({"type": "state", "state": "cancelled"})
            return
        if training.ended or training.process is None or training.process.stdin is None:
            raise RunError(f"This training is {training.state}, so it cannot be told to {command['command']}.")
        with suppress(ConnectionError):  # it has just ended, and says so itself
            training.process.stdin.write(json.dumps(command).encode() + b"\n")
            await training.process.stdin.drain()

    async def close(self) -> None:
        """Interrupt the training that runs, so that it can be resumed, and wait until its run is written."""
        self._closing = True
        for training in self._trainings:
            if training.state == "queued":
                training.add({"type": "state", "state": "cancelled"})
            elif training.process is not None and not training.ended:
                with suppress(RunError):
                    await self.command(training.id, {"command": "interrupt"})
        if self._worker is not None:
            with suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._worker, END_SECONDS)

    async def _work(self) -> None:
        """Carry out the trainings that wait, one after the other."""
        while not self._closing:
            training = next((t for t in self._trainings if t.state == "queued"), None)
            if training is None:
                return
            await self._carry_out(training)

    async def _carry_out(self, training: Training) -> None:
        training.add({"type": "state", "state": "starting"})
        pipe = asyncio.subprocess.PIPE
        try:
            # a session of its own: Ctrl-C in the terminal reaches the studio alone, which then interrupts the training
            process = await asyncio.create_subprocess_exec(
                *COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES, start_new_session=True
            )
        except OSError as error:
            training.add({"type": "failed", "message": f"The training could not be started: {error.strerror}."})
            return
        training.process = process
        assert process.stdin is not None
        assert process.stderr is not None
        printed = asyncio.create_task(_last_lines(process.stderr))
        try:
            with suppress(ConnectionError):
                process.stdin.write(json.dumps(asdict(training.job)).encode() + b"\n")
            await self._read(training, process)
            code, lines = await process.wait(), await printed
            if not training.ended:
                training.add({"type": "failed", "message": _died(code, lines)})
        finally:  # also if the studio does not wait any longer
            if process.returncode is None:
                process.kill()

    async def _read(self, training: Training, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            training.add(json.loads(line))


async def _last_lines(stream: asyncio.StreamReader) -> list[str]:
    """The last lines that a process prints, when it has ended."""
    lines: list[str] = []
    while line := await stream.readline():
        lines = [*lines, line.decode(errors="replace").rstrip()][-ERROR_LINES:]
    return lines


def _died(code: int, lines: list[str]) -> str:
    """Why a process ended without a result, in words."""
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    hint = " The system ends a process with signal 9 when memory runs out." if code == -9 else ""
    last = f"\n{lines[-1]}" if lines else ""
    return (
        f"The training's process ended {how}, before its run was complete.{hint} The studio is not affected. "
        f"If there is a checkpoint, `misread runs` names the training, and it can be resumed.{last}"
    )
