"""Cores of this machine that a task has for itself, among tasks of processes that know nothing of each other."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

NAME = "misread-core"


@contextmanager
def own_cores(need: int, of: int) -> Iterator[None]:
    """The block runs on cores that no other such block on this machine has; then the process has all its cores again.

    need, of: it needs `need` of the `of` cores that are given out on this machine, and gets this part of the cores of
              the process. In a container whose limit is a share of the time, that is more than `need`.
    If too few are free, or if more are given out than there are, the system goes on choosing the cores, as it does
    everywhere but on Linux.
    """
    if sys.platform != "linux":
        yield
        return
    mine = os.sched_getaffinity(0)
    count = len(mine) * need // of
    with ExitStack() as held:
        if count >= need and (cores := _take(mine, count, held)):
            _pin(cores)
            held.callback(_pin, mine)
        yield


def _take(cores: set[int], count: int, held: ExitStack) -> set[int]:
    """So many cores that nobody has, until `held` is closed; none, if there are fewer.

    A core is an abstract address of a Unix socket. Only one process can have it, and the system frees it when that
    process ends, however it ends; nothing is left on the disk.
    """
    with ExitStack() as names:
        taken = set[int]()
        for core in sorted(cores):
            with suppress(OSError):  # another has it
                names.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(f"\0{NAME}-{core}")
                taken.add(core)
            if len(taken) == count:
                held.enter_context(names.pop_all())
                return taken
    return set()


def _pin(cores: set[int]) -> None:
    """Also the threads that libraries have started by now, which would stay on the cores of their start."""
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(OSError):  # it has just ended
            os.sched_setaffinity(int(thread.name), cores)
