"""Runs the command line in a forked process, which has torch and misread loaded already, and may be killed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """How a process ended. code: the exit code; minus the signal if it was killed. peak_mb: its largest memory."""

    code: int
    seconds: float
    text: str
    peak_mb: int

    @property
    def said(self) -> str:
        """The last line of the message, or the error that has no message."""
        return (self.text.strip().splitlines() or ["(nothing)"])[-1]

    @property
    def is_clean(self) -> bool:
        """Whether it succeeded, or failed with one message."""
        return self.code in (0, 1, 2) and "Traceback" not in self.text


Command = Sequence[object] | Callable[[], object]  # arguments of `misread`, or what is called instead


def misread(
    command: Command,
    log: Path,
    kill_after: float | None = None,
    before: Callable[[], object] | None = None,
    watch: Callable[[], object] | None = None,
) -> Ended:
    """Run a command.

    log: gets the output. kill_after: seconds. before: called in the process. watch: called here while it runs.
    """

    def call() -> None:
        from misread.cli.main import main
        from misread.errors import MisreadError

        if before:
            before()
        if callable(command):
            try:
                command()
            except MisreadError as error:
                sys.exit(f"Error: {error}")
        else:
            main([str(argument) for argument in command])

    return ended(start(call, log), log, kill_after, watch)


def start(call: Callable[[], object], log: Path) -> tuple[int, float]:
    """Start a process that does this call and exits; its number and the time."""
    sys.stdout.flush()
    started = time.monotonic()
    child = os.fork()
    if child:
        return child, started
    code = 70
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        call()
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        if isinstance(leave.code, str):
            sys.stderr.write(f"{leave.code}\n")
    except BaseException:  # the traceback is what is looked for
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(
    process: tuple[int, float],
    log: Path,
    kill_after: float | None = None,
    watch: Callable[[], object] | None = None,
) -> Ended:
    """Wait for the end of a process, which is killed after some seconds."""
    child, started = process
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        seconds = time.monotonic() - started
        if pid:
            break
        if watch:
            watch()
        if kill_after is not None and seconds >= kill_after:
            os.kill(child, signal.SIGKILL)
            kill_after = None
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, seconds, log.read_text(errors="replace") if log.exists() else "", usage.ru_maxrss // 1024)
