"""Tasks on a Ray cluster: Ray Core places them, and this module counts their attempts as local processes do."""

import os
import pickle
import socket
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from misread.cores import own_cores
from misread.errors import MisreadError, RunError, needing
from misread.files import PARTIAL, locked
from misread.processor import cpu_name
from misread.version import __version__
from misread.workers import (
    ATTEMPTS,
    Attempt,
    Need,
    TaskDone,
    TaskFailed,
    TaskFunction,
    TaskProgress,
    may_succeed,
)

AHEAD = 2  # times the tasks that fit: so no core waits for this process, and a cluster that grows with its queue grows
SETTINGS = ("MISREAD_CACHE", "MISREAD_DATA", "MISREAD_KERNELS")  # a task has those of this process
REPORT_SECONDS = 0.5  # between two reports of a task
CONNECT_SECONDS = 20
END_SECONDS = 10  # to wait for the processes of tasks that are given up
ROOM_SECONDS = 60  # after which machines that were lost are not waited for, if no other has room for a task


class RayCluster:
    """A Ray cluster, in place of a number of workers. As many tasks run at the same time as its machines have room for.

    A task runs on cores that no other task of misread on its machine has: see `own_cores`.
    address:  `auto` for the cluster that this machine belongs to, `local` for one that is started on this machine and
              ends with the connection, or what `ray.init` takes. If this process is connected already, that counts.
    attempts: how often a task is begun, at most, if its process or machine dies or it raises no MisreadError.
    All machines need the same version of misread, PyTorch and NumPy and the same processor, because others round
    differently: one that differs refuses its tasks. The data is sent to them. If it stays in a file, such as the copy
    in the cache, they need this file under the same path.
    It connects at the first task. `close`, the end of a `with` block or of the program ends the connection.
    Raises RunError: ray is not installed; on connecting, there is no cluster at the address.
    """

    def __init__(self, address: str, attempts: int = ATTEMPTS) -> None:
        with needing("ray", "A Ray cluster"):
            import ray
        self._ray: Any = ray
        self._address, self._attempts, self._connected = address, attempts, False

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, if it was made here."""
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def __call__(
        self, function: TaskFunction, tasks: Iterable[Any], need: Need
    ) -> Generator[TaskProgress | TaskDone, None, None]:
        """See `run_tasks`. Raises RunError: no machine has what a task needs, or the folder cannot be written."""
        if not self._ray.is_initialized():
            self._connect()
            self._connected = True
        self._check_room(need)
        with _seen_by_all(need.folder) as mark:
            driver = _Driver(_rounding(), _settings(), os.getcwd(), mark, need.cores)
            yield from self._run(function, tasks, need, driver)

    def _connect(self) -> None:
        try:
            _check_reachable(self._address)
            self._ray.init(address=self._address, log_to_driver=False, logging_level="error")
        except (OSError, ValueError) as error:
            raise RunError(
                f"There is no Ray cluster at {self._address!r}: {_first_line(error)}\n"
                "Start one with `ray start --head`, or use --ray local."
            ) from None
        except RuntimeError as error:
            raise RunError(f"The Ray cluster at {self._address!r} cannot be used: {error}") from None

    def _check_room(self, need: Need) -> None:
        machines = self._machines()
        if any(m.get("CPU") for m in machines) and not any(_fitting(m, need) for m in machines):
            most = max(int(m.get("CPU", 0)) for m in machines)
            gpus = f" and {need.gpus} GPU" if need.gpus else ""
            raise RunError(
                f"A task needs {need.cores} cores{gpus}, which no machine of the Ray cluster has. The largest has "
                f"{most} cores{', and there are no GPUs' * (not any(m.get('GPU') for m in machines))}. "
                "Use fewer --threads, or another --device."
            )

    def _machines(self) -> list[dict[str, float]]:
        """The resources of the machines that live."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _run(
        self, function: TaskFunction, tasks: Iterable[Any], need: Need, driver: "_Driver"
    ) -> Generator[TaskProgress | TaskDone, None, None]:
        ray = self._ray
        held = [ray.put(function)]  # in a list, so that Ray does not open it: a process that has it keeps it
        # a lost task is begun again here, so that one which kills every process ends as a failed one
        remote = ray.remote(num_cpus=need.cores, num_gpus=need.gpus, max_retries=0)(_call)
        reports = _start_reports(ray)
        looking = [reports.take.remote()]
        ahead = AHEAD if isinstance(tasks, Sequence) else 1  # others may depend on results
        coming = (Attempt(index, task, 1) for index, task in enumerate(tasks))
        again: deque[Attempt] = deque()
        running: dict[Any, tuple[Attempt, float]] = {}
        rows: dict[int, int] = {}  # by the index of a task: what its events have as the worker
        try:
            while True:
                room = ahead * max(1, sum(_fitting(machine, need) for machine in self._machines()))
                while len(running) < room:
                    if (attempt := again.popleft() if again else next(coming, None)) is None:
                        break
                    reference = remote.remote(driver, held, attempt.index, attempt.task, reports)
                    running[reference] = attempt, perf_counter()
                if not running:
                    return
                readies, _others = ray.wait([*running, *looking], num_returns=1, timeout=ROOM_SECONDS)
                if not readies:
                    self._check_room(need)
                    continue
                (ready,) = readies
                if ready in looking:
                    now = {attempt.index for attempt, _ in running.values()}
                    looking = []  # without its process nothing more is reported
                    with suppress(ray.exceptions.RayError):
                        for index, value in ray.get(ready).items():
                            if index in now:
                                yield TaskProgress(index, _row(rows, index), pickle.loads(value))
                        looking = [reports.take.remote()]
                    continue
                attempt, began = running.pop(ready)
                row = _row(rows, attempt.index)
                del rows[attempt.index]
                result, error = _outcome(ray, ready)
                done = TaskDone(attempt.index, row, result, error, attempt.number, perf_counter() - began)
                if may_succeed(done, self._attempts):
                    again.appendleft(Attempt(attempt.index, attempt.task, attempt.number + 1))
                else:
                    yield done
        finally:
            _give_up(ray, list(running))
            ray.kill(reports)


@dataclass(frozen=True)
class _Driver:
    """What a machine compares with itself or takes over before a task.

    mark: a file that it must see. cores: of a task.
    """

    rounding: dict[str, str]
    settings: dict[str, str]
    folder: str
    mark: Path | None
    cores: int


def _call(driver: _Driver, held: list[Any], index: int, task: Any, reports: Any) -> tuple[Any, MisreadError | None]:
    """In a process of the cluster. What is no MisreadError is raised, and Ray brings it to `_outcome`."""
    last = -REPORT_SECONDS

    def report(value: Any) -> None:
        nonlocal last
        if monotonic() - last >= REPORT_SECONDS:
            last = monotonic()
            reports.put.remote(index, pickle.dumps(value))

    try:
        _check_machine(driver)
        os.environ.update(driver.settings)
        with suppress(OSError):  # relative paths mean the same, if there is such a folder
            os.chdir(driver.folder)
        with own_cores(driver.cores, _cores_given_out()):
            return _function(held[0])(task, report), None
    except MisreadError as error:
        return None, error


def _check_machine(driver: _Driver) -> None:
    """Raises RunError: this machine would round differently, or does not see the folder of the tasks."""
    here, name = _rounding(), socket.gethostname()
    if differing := [f"{key} {here[key]}, not {value}" for key, value in driver.rounding.items() if here[key] != value]:
        raise RunError(
            f"The machine {name} of the Ray cluster has {', '.join(differing)}, so its results would not be the same "
            "bit for bit. Use a cluster of equal machines, and give the command on one of them."
        )
    if driver.mark is not None and not driver.mark.exists():
        raise RunError(
            f"The machine {name} of the Ray cluster does not see the folder {driver.mark.parent}. Choose an --out that "
            "all machines share under the same path."
        )


@lru_cache(maxsize=1)
def _cores_given_out() -> int:
    """The cores that the cluster counts on this machine. Several of its nodes may be there."""
    import ray

    here, there = ray.get_runtime_context().get_node_id(), [node for node in ray.nodes() if node["Alive"]]
    (address,) = [node["NodeManagerAddress"] for node in there if node["NodeID"] == here]
    return int(sum(node["Resources"].get("CPU", 0) for node in there if node["NodeManagerAddress"] == address))


@lru_cache(maxsize=1)
def _function(reference: Any) -> TaskFunction:
    """The function of the tasks, which this process opens once. Raises RunError: it cannot be opened here."""
    import ray

    try:
        function: TaskFunction = ray.get(reference)
    except ray.exceptions.RaySystemError as error:
        raise RunError(
            f"The machine {socket.gethostname()} of the Ray cluster cannot open what the tasks need: "
            f"{getattr(error, 'client_exc', error)}\nIf that is a file of the data or of the cache (MISREAD_CACHE), "
            "all machines must have it under the same path."
        ) from None
    return function


def _check_reachable(address: str) -> None:
    """Raises OSError: nothing listens at a HOST:PORT. Ray itself would try for minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    if host and "://" not in address and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _rounding() -> dict[str, str]:
    """What decides how results are rounded."""
    from importlib.metadata import version

    versions = {name: version(name) for name in ("torch", "numpy", "pillow")}
    return {"misread": __version__, **versions, "processor": cpu_name()}


def _settings() -> dict[str, str]:
    """The variables that decide where a task finds things."""
    return {name: os.environ[name] for name in SETTINGS if name in os.environ}


@contextmanager
def _seen_by_all(folder: Path | None) -> Iterator[Path | None]:
    """A file in the folder, by whose name another machine knows that it sees the same folder.

    Raises RunError: the folder cannot be written.
    """
    if folder is None:
        yield None
        return
    mark = folder.absolute() / f"{PARTIAL}{os.urandom(8).hex()}"
    with ExitStack() as held:
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            held.callback(mark.unlink, missing_ok=True)
            held.enter_context(locked(held.enter_context(mark.open("xb"))))  # a job that ends there would remove it
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}. Choose another --out.") from None
        yield mark


class _Reports:
    """The last report of each task since they were taken, in a process of its own on this machine.

    They are pickled, so that this process does not import what they are made of.
    """

    def __init__(self) -> None:
        from asyncio import Event

        self._last: dict[int, bytes] = {}
        self._came = Event()

    async def put(self, index: int, value: bytes) -> None:
        self._last[index] = value
        self._came.set()

    async def take(self) -> dict[int, bytes]:
        """Waits until there is one."""
        await self._came.wait()
        self._came.clear()
        taken, self._last = self._last, {}
        return taken


def _start_reports(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(_Reports).remote()


def _fitting(machine: dict[str, float], need: Need) -> int:
    """How many tasks a machine can do at the same time."""
    fits = machine.get("CPU", 0) // need.cores
    return int(min(fits, machine.get("GPU", 0) // need.gpus) if need.gpus else fits)


def _row(rows: dict[int, int], index: int) -> int:
    """The row of a task in a table: the first that no other has. Tasks that wait at Ray have none yet."""
    return rows.setdefault(index, min({*range(len(rows) + 1)} - {*rows.values()}))


def _outcome(ray: Any, reference: Any) -> tuple[Any, Exception | None]:
    try:
        result, error = ray.get(reference)
        return result, error
    except ray.exceptions.RayTaskError as error:
        return None, TaskFailed(f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:  # its process or its machine died
        return None, TaskFailed(f"Ray lost the task: {_first_line(error)}")


def _give_up(ray: Any, running: list[Any]) -> None:
    """End the processes of these tasks, so that none writes any more when the caller goes on."""
    with suppress(ray.exceptions.RayError):
        for reference in running:
            ray.cancel(reference, force=True)
        if running:
            ray.wait(running, num_returns=len(running), timeout=END_SECONDS)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
