"""Tasks for the tests of worker processes: functions of a module, because other processes import them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from misread.errors import DataError
from misread.workers import Report


def square(task: int, report: Report) -> tuple[int, int]:
    report(f"squaring {task}")
    return task * task, os.getpid()


def fail(task: str, report: Report) -> str:
    if task == "data":
        raise DataError("The file is empty.")
    if task == "bug":
        raise ZeroDivisionError("division by zero")
    if task == "result":
        return lambda: None  # type: ignore[return-value]
    return task


def die_at_first(task: tuple[Path, int], report: Report) -> bytes:
    """Kills its own process the first `times` times: in the middle of its work, of a message or at its beginning."""
    folder, times = task
    attempts = len(list(folder.glob("attempt-*"))) + 1
    (folder / f"attempt-{attempts}").touch()
    report(attempts)
    if attempts <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes(range(256))


def exit_in_the_middle(task: int, report: Report) -> int:
    os._exit(7)


def wait_long(folder: Path, report: Report) -> None:
    """Leaves a file named by its process, and works for a time that no test lasts."""
    (folder / str(os.getpid())).touch()
    report("begun")
    time.sleep(600)


def environment(name: str, report: Report) -> str | None:
    return os.environ.get(name)


def cores(task: int, report: Report) -> set[int]:
    time.sleep(0.2)  # long enough that no worker does two of them before the others began
    return os.sched_getaffinity(0)


def send_part(task: Any, report: Report) -> str:
    """Dies after the first bytes of a message that announces more: at the first attempt only."""
    marker = Path(task)
    if marker.exists():
        return "whole"
    marker.touch()
    connection = report.__closure__[0].cell_contents  # type: ignore[attr-defined]
    os.write(connection.fileno(), (1_000_000).to_bytes(4, "big") + b"part")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
