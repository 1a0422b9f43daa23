"""Who does the tasks of a job: local processes or a Ray cluster. The task function is the same."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from misread.errors import RunError
from misread.scale.run_job import Engine
from misread.workers import TaskDone, TaskProgress, run_tasks


def local_engine(workers: int) -> Engine:
    """Processes of this machine. Raises RunError: fewer than one."""
    if workers < 1:
        raise RunError(f"{workers} workers are not possible. Use 1 or more.")

    def do(function: Callable[..., Any], tasks: Sequence[Any]) -> Generator[TaskProgress | TaskDone, None, None]:
        return run_tasks(function, tasks, workers)

    return do
