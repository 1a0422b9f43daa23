"""Tasks on several local processes, or on a cluster. A process that dies is replaced, and its task is done again."""

import errno
import multiprocessing
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from misread.errors import MisreadError

ATTEMPTS = 3

Report = Callable[[Any], None]  # a task calls it with whatever shows its progress
TaskFunction = Callable[[Any, Report], Any]  # (task, report) -> result


@dataclass(frozen=True)
class TaskProgress:
    """What a task reported. `worker` is 0..workers-1."""

    index: int
    worker: int
    value: Any


@dataclass(frozen=True)
class TaskDone:
    """A task that ended: with its result, or with the error of its last attempt."""

    index: int
    worker: int
    result: Any
    error: Exception | None
    attempts: int
    seconds: float


class TaskFailed(MisreadError):
    """A task whose process died or that raised what is no error of misread, each time that it was tried."""

    exit_code = 1


@dataclass(frozen=True)
class Need:
    """What each task needs on a machine of a cluster. Processes of this machine have it already.

    cores, gpus: for the task alone. folder: where it writes, so all machines must see the same folder there.
    """

    cores: int = 1
    gpus: int = 0
    folder: Path | None = None


class Cluster(Protocol):
    """Other machines that do tasks. Its call is `run_tasks` with the cluster as the workers."""

    def __call__(
        self, function: TaskFunction, tasks: Iterable[Any], need: Need
    ) -> Generator[TaskProgress | TaskDone, None, None]: ...


def run_tasks(
    function: TaskFunction,
    tasks: Iterable[Any],
    workers: int | Cluster,
    need: Need | None = None,
    *,
    attempts: int = ATTEMPTS,
    pin: bool = True,
) -> Generator[TaskProgress | TaskDone, None, None]:
    """Each task done by one of `workers` processes, or by a cluster; yields what they report, and every end.

    function, tasks: they are pickled, so the function belongs to a module. It is called with a task and `report`.
    attempts:        how often a task is begun, at most, if its process dies or it raises anything but a MisreadError.
                     A MisreadError is final, because the next attempt would raise it too.
    pin:             each process has its own share of this process's cores, where the system can do that.
    need:            of a cluster, which has its own number of attempts.
    Tasks begin in their order. Each is taken from `tasks` when a process is free for it, so it may depend on results.
    Close the generator (`contextlib.closing`) when you leave it early: that ends the processes. Ctrl-C reaches this
    process only.
    Raises ValueError: fewer than one worker or attempt.
    """
    if not isinstance(workers, int):
        return workers(function, tasks, need or Need())
    if workers < 1 or attempts < 1:
        raise ValueError(f"{workers} workers with {attempts} attempts do no task")
    return _in_processes(function, tasks, workers, attempts, pin)


def _in_processes(
    function: TaskFunction, tasks: Iterable[Any], workers: int, attempts: int, pin: bool
) -> Generator[TaskProgress | TaskDone, None, None]:
    cores = _shares(workers) if pin else [None] * workers
    coming = (Attempt(index, task, 1) for index, task in enumerate(tasks))
    again: deque[Attempt] = deque()
    team: list[_Worker] = []
    try:
        while True:
            begun: list[tuple[_Worker, Attempt]] = []
            for number in range(workers):
                if number < len(team) and team[number].attempt:
                    continue
                if (attempt := again.popleft() if again else next(coming, None)) is None:
                    break
                if number == len(team):
                    team.append(_Worker(function, number, cores[number]))
                begun.append((team[number], attempt))
            for worker, attempt in begun:  # only now, because a long task waits for the process to start
                worker.begin(attempt)
            busy = {worker: worker.attempt for worker in team if worker.attempt}
            if not busy:
                return
            ready = set(wait([worker.connection for worker in busy]))
            for worker, attempt in busy.items():
                if worker.connection in ready:
                    event = worker.receive()
                    if isinstance(event, TaskDone) and may_succeed(event, attempts):
                        again.appendleft(replace(attempt, number=attempt.number + 1))
                    else:
                        yield event
    finally:
        for worker in team:
            worker.end()


@dataclass(frozen=True)
class Attempt:
    """A task that is begun. index: of the task. number: how often it was begun, with this time."""

    index: int
    task: Any
    number: int


def may_succeed(done: TaskDone, attempts: int) -> bool:
    """Whether a task is worth another attempt."""
    return isinstance(done.error, TaskFailed) and done.attempts < attempts


class _Worker:
    """A process, the task that it does, and the connection to it."""

    def __init__(self, function: TaskFunction, number: int, cores: set[int] | None) -> None:
        self._function, self._number, self._cores = function, number, cores
        self.attempt: Attempt | None = None
        self._start()

    def _start(self) -> None:
        # no fork of this process: threads of PyTorch and of the kernels do not survive it
        function = getattr(self._function, "func", self._function)  # a partial belongs to functools
        context = _context(function.__module__)
        self.connection, other = context.Pipe()
        # a daemon, so that Python never waits at its exit for a process that waits for a task
        arguments = other, self._function, self._cores, dict(os.environ)
        self._process: BaseProcess = context.Process(target=_work, args=arguments, daemon=True)
        with _ctrl_c_held_back(), _naming_full_disk():
            self._process.start()
        other.close()  # so that its end is seen here

    def begin(self, attempt: Attempt) -> None:
        self.attempt, self._began = attempt, time.perf_counter()
        with suppress(BrokenPipeError, ConnectionResetError):  # it died idle: `receive` says so
            self.connection.send(attempt.task)

    def receive(self) -> TaskProgress | TaskDone:
        assert self.attempt is not None
        attempt = self.attempt
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            kind, value = "error", self._died()
        if kind == "progress":
            return TaskProgress(attempt.index, self._number, value)
        self.attempt = None
        return TaskDone(
            attempt.index, self._number, value if kind == "result" else None, value if kind == "error" else None,
            attempt.number, time.perf_counter() - self._began,
        )  # fmt: skip

    def _died(self) -> TaskFailed:
        """Replaces the process; why it ended."""
        self._process.join()
        code = self._process.exitcode or 0
        how = f"was ended by the signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self.connection.close()
        self._start()
        hint = " The system may have run out of memory: use fewer workers." if code == -9 else ""
        return TaskFailed(f"A worker process {how}.{hint}")

    def end(self) -> None:
        self.connection.close()
        if self.attempt:
            self._process.kill()  # what it writes has a temporary name until it is whole
        self._process.join()


def warm_up(*modules: str) -> None:
    """Begin to import in the background what tasks need: the modules of their functions, and what these import late.

    It gains time before this process itself imports as much; without it, the first call of `run_tasks` imports the
    module of its function.
    """
    if isinstance(_context(*modules), ForkServerContext):
        with _ctrl_c_held_back(), _naming_full_disk():
            forkserver.ensure_running()


@contextmanager
def _naming_full_disk() -> Iterator[None]:
    """Python keeps the sockets of its processes in the folder for temporary files. The system's error has no name."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        raise OSError(error.errno, os.strerror(error.errno), tempfile.gettempdir()) from None


def _context(*modules: str) -> ForkServerContext | SpawnContext:
    """How processes start: forked from a server that has imported these modules and has no threads of its own.

    So N processes import PyTorch once and share its memory. Where there is no such server, each starts a new Python.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    return context


def _work(connection: Connection, function: TaskFunction, cores: set[int] | None, environment: dict[str, str]) -> None:
    """The life of a process: tasks come until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()  # the server's is that of its start
    os.environ.update(environment)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    try:
        while True:
            task = connection.recv()
            try:
                connection.send(("result", function(task, lambda value: connection.send(("progress", value)))))
            except MisreadError as error:
                connection.send(("error", error))
            except Exception as error:  # raised by the task, or its result cannot be pickled
                connection.send(("error", TaskFailed(f"{type(error).__name__}: {error}")))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the process that gave the tasks is gone, or needs no more


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """A process that starts in this block inherits that Ctrl-C is blocked, also before its own code runs."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # the first start would start it too, which unblocks Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shares(workers: int) -> list[set[int] | None]:
    """The cores of this process, shared out evenly; more workers than cores share them in turn."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * workers
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[number::workers]) or {cores[number % len(cores)]} for number in range(workers)]
