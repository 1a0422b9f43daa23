"""Tasks for tests of a Ray cluster. This module imports little, so that processes start soon."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def kill_or_double(task: Any, report: Any) -> Any:
    """Twice a number; or ends its process, or raises."""
    if task == "kill":
        os._exit(1)
    if task == "raise":
        raise KeyError("no double")
    return 2 * task


def where(task: Any, report: Any) -> tuple[str, str | None, float]:
    """The working folder, the cache, and the cores that Ray reserved."""
    import ray

    return os.getcwd(), os.environ.get("MISREAD_CACHE"), ray.get_runtime_context().get_assigned_resources()["CPU"]


def meet(task: tuple[Path, str, int], report: Any) -> set[frozenset[int]]:
    """Waits until so many tasks are in the folder; the cores of the threads of this process."""
    folder, name, count = task
    (folder / name).touch()
    wait(lambda: len(list(folder.iterdir())) >= count)
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            found.add(frozenset(os.sched_getaffinity(int(thread.name))))
    return found


class Held:
    """A function of tasks that waits for a file `go` in a folder, and leaves a file there for each time it begins."""

    def __init__(self, function: Any, folder: Path) -> None:
        self.function, self.folder = function, folder

    def __call__(self, task: Any, report: Any) -> Any:
        (self.folder / os.urandom(8).hex()).touch()
        report(1)
        wait(lambda: (self.folder / "go").exists())
        return self.function(task, report)


def wait(condition: Any) -> None:
    """Until it holds, but not for ever."""
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
