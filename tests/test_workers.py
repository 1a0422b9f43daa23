"""Tasks on local processes: order, errors, processes that are killed, and that none is left behind."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import worked
from misread.errors import DataError
from misread.workers import TaskDone, TaskFailed, TaskProgress, run_tasks, warm_up

SECONDS = 120.0  # to wait for anything: other work may hold the machine


def done(function: Any, tasks: list[Any], workers: int, **more: Any) -> dict[int, TaskDone]:
    with closing(run_tasks(function, tasks, workers, **more)) as events:
        return {event.index: event for event in events if isinstance(event, TaskDone)}


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def lives(process: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def test_every_task_is_done_once_and_says_which_it_was() -> None:
    with closing(run_tasks(worked.square, range(7), 2)) as found:
        events = list(found)
    ends = {e.index: e for e in events if isinstance(e, TaskDone)}
    assert [ends[i].result[0] for i in range(7)] == [i * i for i in range(7)]
    assert len(ends) == 7
    assert all(e.error is None and e.attempts == 1 for e in ends.values())
    reports = [e for e in events if isinstance(e, TaskProgress)]
    assert sorted((e.index, e.value) for e in reports) == [(i, f"squaring {i}") for i in range(7)]
    assert {e.worker for e in ends.values()} <= {0, 1}
    assert os.getpid() not in {e.result[1] for e in ends.values()}
    # what a task reports comes before its end
    assert all(events.index(ends[r.index]) > events.index(r) for r in reports)


def test_one_worker_does_the_tasks_in_their_order() -> None:
    with closing(run_tasks(worked.square, [5, 3, 4], 1)) as events:
        ends = [e for e in events if isinstance(e, TaskDone)]
    assert [(e.index, e.result[0]) for e in ends] == [(0, 25), (1, 9), (2, 16)]
    assert len({e.result[1] for e in ends}) == 1  # the process is kept


def test_a_task_is_taken_when_a_process_is_free_so_it_may_depend_on_results() -> None:
    results = [2]

    def tasks() -> Iterator[int]:
        while results[-1] < 1000:
            yield results[-1]

    with closing(run_tasks(worked.square, tasks(), 1)) as events:
        for event in events:
            if isinstance(event, TaskDone):
                results.append(event.result[0])
    assert results == [2, 4, 16, 256, 65536]


def test_no_tasks_start_no_process() -> None:
    assert done(worked.square, [], 4) == {}


@pytest.mark.parametrize(("workers", "attempts"), [(0, 3), (-1, 3), (1, 0)])
def test_no_worker_or_no_attempt_is_refused(workers: int, attempts: int) -> None:
    with pytest.raises(ValueError, match="do no task"):
        done(worked.square, [1], workers, attempts=attempts)


def test_an_error_of_misread_is_final_and_any_other_is_tried_again() -> None:
    ends = done(worked.fail, ["data", "bug", "result", "fine"], 2)
    assert isinstance(ends[0].error, DataError)
    assert str(ends[0].error) == "The file is empty."
    assert ends[0].attempts == 1
    assert isinstance(ends[1].error, TaskFailed)
    assert "ZeroDivisionError: division by zero" in str(ends[1].error)
    assert ends[1].attempts == 3
    assert "fail.<locals>.<lambda>" in str(ends[2].error)  # a result that cannot be sent; Pythons word it differently
    assert (ends[3].result, ends[3].error) == ("fine", None)


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_process_is_replaced_and_its_task_done_again(times: int, tmp_path: Path) -> None:
    (end,) = done(worked.die_at_first, [(tmp_path, times)], 1).values()
    assert (end.error, end.result, end.attempts) == (None, bytes(range(256)), times + 1)
    assert len(list(tmp_path.iterdir())) == times + 1


def test_a_process_killed_from_outside_loses_no_task(tmp_path: Path) -> None:
    """While others work; all results are those that undisturbed processes give."""
    with closing(run_tasks(worked.square, range(40), 2)) as events:
        ends = {}
        for event in events:
            if isinstance(event, TaskDone):
                if len(ends) in (3, 11):
                    os.kill(event.result[1], signal.SIGKILL)
                ends[event.index] = event
    assert [ends[i].result[0] for i in range(40)] == [i * i for i in range(40)]
    assert not any(e.error for e in ends.values())


def test_three_deaths_end_in_a_failure_that_says_how(tmp_path: Path) -> None:
    (end,) = done(worked.die_at_first, [(tmp_path, 3)], 1).values()
    assert isinstance(end.error, TaskFailed)
    assert "SIGKILL" in str(end.error)
    assert "use fewer workers" in str(end.error)
    assert (end.attempts, end.error.exit_code, len(list(tmp_path.iterdir()))) == (3, 1, 3)
    assert "exit code 7" in str(done(worked.exit_in_the_middle, [1], 1, attempts=1)[0].error)


def test_a_death_in_the_middle_of_a_message_is_a_death(tmp_path: Path) -> None:
    (end,) = done(worked.send_part, [str(tmp_path / "marker")], 1).values()
    assert (end.result, end.error, end.attempts) == ("whole", None, 2)


def test_a_close_before_the_end_leaves_no_process(tmp_path: Path) -> None:
    with closing(run_tasks(worked.wait_long, [tmp_path] * 4, 2)) as events:
        next(events)
        next(events)
        assert all(lives(pid) for pid in pids(tmp_path))
        assert len(pids(tmp_path)) == 2
    assert not any(lives(pid) for pid in pids(tmp_path))


SCRIPT = """
import sys
from pathlib import Path
from contextlib import closing
import worked
from misread.workers import run_tasks

if __name__ == "__main__":
    try:
        with closing(run_tasks(worked.wait_long, [Path(sys.argv[1])] * 2, 2)) as events:
            for event in events:
                print(event, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
"""


# imported by a worker before its own code runs
SLOW = """
import multiprocessing, os, sys, time
from pathlib import Path

if getattr(multiprocessing.current_process(), "_inheriting", False):  # in a process that is starting
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(60)
elif not hasattr(sys.modules["__main__"], "__file__"):  # in the server that forks; newer Pythons find the module there
    raise ImportError

def wait_long(folder, report):
    pass
"""


@pytest.mark.parametrize("moment", ["at work", "at the start"])
def test_ctrl_c_leaves_no_process_and_no_traceback(moment: str, tmp_path: Path) -> None:
    """As in a terminal, where Ctrl-C reaches the whole group of processes."""
    script, folder = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SCRIPT if moment == "at work" else SCRIPT.replace("worked", "slow_to_import"))
    (tmp_path / "slow_to_import.py").write_text(SLOW)
    folder.mkdir()
    paths = os.pathsep.join([str(Path(worked.__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)], env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: len(pids(folder)) == 2)
    processes = _descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (130, "")
    until(lambda: not any(lives(one) for one in processes))


def _descendants(process: int) -> list[int]:
    children = [int(c) for c in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return children + [found for child in children for found in _descendants(child)]


def test_a_killed_parent_leaves_no_idle_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("worked.wait_long, [Path(sys.argv[1])] * 2", "worked.square, [1] * 2")
                      .replace("flush=True)", "flush=True); __import__('time').sleep(600)"))  # fmt: skip
    paths = os.pathsep.join([str(Path(worked.__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, str(script), "-"], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    processes = _descendants(process.pid)
    assert len(processes) >= 2
    process.kill()
    process.communicate(timeout=SECONDS)
    until(lambda: not any(lives(one) for one in processes))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_each_worker_has_its_share_of_the_cores_and_all_are_shared_out() -> None:
    mine = os.sched_getaffinity(0)
    ends = done(worked.cores, [0] * 4, 2)
    of_worker = {e.worker: e.result for e in ends.values()}
    assert set().union(*of_worker.values()) <= mine
    if len(mine) > 1 and len(of_worker) == 2:
        assert not of_worker[0] & of_worker[1]
        assert of_worker[0] | of_worker[1] == mine
    many = done(worked.cores, [0] * (len(mine) + 1), len(mine) + 1)
    assert all(e.result and e.result <= mine for e in many.values())  # more workers than cores share them
    assert done(worked.cores, [0], 1, pin=False)[0].result == mine


def test_workers_have_the_environment_of_their_start_not_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("first", "second"):
        monkeypatch.setenv("MISREAD_CACHE", value)
        assert done(worked.environment, ["MISREAD_CACHE"], 1)[0].result == value


def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        warm_up()
    assert caught.value.filename == tempfile.gettempdir()
