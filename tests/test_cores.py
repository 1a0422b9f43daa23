"""Cores that processes have for themselves, though no common process gives them out."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from misread import cores
from misread.cores import own_cores

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs affinity and two cores"
)

HOLD = """
import os, sys
from misread import cores
cores.NAME, need, of = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with cores.own_cores(need, of):
    print(*os.sched_getaffinity(0), flush=True)
    sys.stdin.read()
print(*os.sched_getaffinity(0), flush=True)
"""


@pytest.fixture(autouse=True)
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[int]]:
    """This process has two cores, by names that no other test uses at the same time."""
    monkeypatch.setattr(cores, "NAME", os.urandom(8).hex())
    before = os.sched_getaffinity(0)
    chosen = {*sorted(before)[:2]}
    os.sched_setaffinity(0, chosen)
    yield chosen
    cores._pin(before)


class Holder:
    """A process in such a block. cores: those that it has there."""

    def __init__(self, need: int, of: int) -> None:
        command = [sys.executable, "-c", HOLD, cores.NAME, str(need), str(of)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.cores = self._read()

    def _read(self) -> set[int]:
        assert self.process.stdout
        return {int(core) for core in self.process.stdout.readline().split()}

    def leave(self) -> set[int]:
        """Leaves the block; the cores that the process has then."""
        assert self.process.stdin
        self.process.stdin.close()
        return self._read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def hold() -> Iterator[Callable[[int, int], Holder]]:
    there: list[Holder] = []

    def start(need: int, of: int) -> Holder:
        there.append(Holder(need, of))
        return there[-1]

    yield start
    for one in there:
        with one.process:
            one.kill()


@pytest.mark.parametrize(
    ("need", "of", "count"),
    [
        (1, 2, 1),
        (2, 2, 2),
        (1, 1, 2),  # the same part of what there is
        (1, 3, 2),  # more are given out than there are, so these are all
        (2, 3, 2),
        (3, 2, 2),
    ],
)
def test_a_block_has_its_part_of_the_cores_and_then_all_again(two: set[int], need: int, of: int, count: int) -> None:
    with own_cores(need, of):
        assert os.sched_getaffinity(0) <= two
        assert len(os.sched_getaffinity(0)) == count
    assert os.sched_getaffinity(0) == two


def test_processes_have_different_cores_until_they_leave_or_are_killed(
    two: set[int], hold: Callable[[int, int], Holder]
) -> None:
    first, second = hold(1, 2), hold(1, 2)
    assert len(first.cores) == len(second.cores) == 1
    assert first.cores | second.cores == two
    assert hold(1, 2).cores == two  # nothing is free
    first.kill()
    third = hold(1, 2)
    assert third.cores == first.cores
    assert second.leave() == two
    assert hold(1, 2).cores == second.cores


def test_a_block_for_which_too_few_are_free_takes_none(two: set[int], hold: Callable[[int, int], Holder]) -> None:
    first = hold(1, 2)
    with own_cores(2, 2):
        assert os.sched_getaffinity(0) == two
        assert hold(1, 2).cores == two - first.cores


def test_threads_that_are_there_move_too(two: set[int]) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id
    try:
        with own_cores(1, 2):
            assert os.sched_getaffinity(thread.native_id) == os.sched_getaffinity(0) != two
        assert os.sched_getaffinity(thread.native_id) == two
    finally:
        end.set()
        thread.join()


def test_an_error_gives_the_cores_back(two: set[int], hold: Callable[[int, int], Holder]) -> None:
    with pytest.raises(KeyError), own_cores(1, 2):
        raise KeyError
    assert os.sched_getaffinity(0) == two
    assert hold(1, 2).cores | hold(1, 2).cores == two


def test_other_systems_choose_the_cores_themselves(two: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        patch.delattr(os, "sched_getaffinity")
        with own_cores(1, 2):
            pass
    assert os.sched_getaffinity(0) == two
