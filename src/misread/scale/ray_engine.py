"""The tasks of a job on a Ray cluster: Ray Core places them, and this module counts attempts as local processes do."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from time import perf_counter
from typing import Any

from misread.errors import MisreadError
from misread.scale.run_job import Engine
from misread.workers import ATTEMPTS, TaskDone, TaskFailed, TaskProgress

LOCAL = "local"  # the address of a cluster that is started on this machine for this job alone
WAITING_PER_CORE = 2  # tasks that are given to Ray at once, so that their arguments do not fill its memory


def ray_engine(address: str, attempts: int = ATTEMPTS) -> Engine:
    """Tasks of one core each on the cluster at `address`: `auto` for the one that this machine belongs to, or `local`.

    All machines need misread and the folder of the job under the same path.
    attempts: how often a task is begun, at most, if its process or machine dies or it raises no MisreadError.
    Raises MisreadError: ray is not installed, or there is no cluster at the address.
    """
    ray = _import_ray()

    def do(function: Callable[..., Any], tasks: Sequence[Any]) -> Generator[TaskProgress | TaskDone, None, None]:
        started_here = not ray.is_initialized()
        if started_here:
            _connect(ray, address)
        try:
            yield from _run(ray, function, tasks, attempts)
        finally:
            if started_here:
                ray.shutdown()

    return do


def _run(
    ray: Any, function: Callable[..., Any], tasks: Sequence[Any], attempts: int
) -> Generator[TaskDone, None, None]:
    # a lost task is begun again here, so that a shard which kills every process ends as a failed one
    remote = ray.remote(num_cpus=1, max_retries=0)(_call)
    waiting = deque((index, 1) for index in range(len(tasks)))
    running: dict[Any, tuple[int, int, float]] = {}
    while waiting or running:
        most = WAITING_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
        while waiting and len(running) < most:
            index, attempt = waiting.popleft()
            running[remote.remote(function, tasks[index])] = index, attempt, perf_counter()
        (ready, *_), _others = ray.wait(list(running), num_returns=1)
        index, attempt, began = running.pop(ready)
        result, error = _outcome(ray, ready)
        if isinstance(error, TaskFailed) and attempt < attempts:
            waiting.appendleft((index, attempt + 1))
        else:
            yield TaskDone(index, 0, result, error, attempt, perf_counter() - began)


def _call(function: Callable[..., Any], task: Any) -> tuple[Any, Exception | None]:
    """In a process of the cluster. What is no MisreadError is raised, and Ray brings it to `_outcome`."""
    try:
        return function(task, lambda value: None), None
    except MisreadError as error:
        return None, error


def _outcome(ray: Any, reference: Any) -> tuple[Any, Exception | None]:
    try:
        result, error = ray.get(reference)
        return result, error
    except ray.exceptions.RayTaskError as error:
        return None, TaskFailed(f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:  # its process or its machine died
        return None, TaskFailed(f"Ray lost the task: {str(error).strip().splitlines()[0]}")


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MisreadError("--ray needs Ray, which is not installed. pip install 'misread[ray]'") from None
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, ValueError) as error:
        raise MisreadError(
            f"There is no Ray cluster at {address!r}: {str(error).strip().splitlines()[0]}\n"
            "Start one with `ray start --head`, or use --ray local."
        ) from None
