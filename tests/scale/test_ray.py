"""A job of shards on a Ray cluster of several nodes: a process, a node and the command are killed in the middle."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread.ray_cluster import RayCluster
from misread.workers import Need, TaskDone, TaskFailed
from ray_nodes import nodes, tasks_of
from ray_tasks import Held, kill_or_double, wait
from samples import Result, blocks
from shard_jobs import IMAGES, contents

pytest.importorskip("ray")
pytest.importorskip("psutil")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with nodes(monkeypatch) as made:
        yield made


def test_a_job_survives_a_killed_process_and_a_killed_node(
    predict: Callable[..., Any], tars: str, cluster: Any, tmp_path: Path
) -> None:
    _, whole = predict(tars, out="whole")
    begun, attempts = tmp_path / "begun", list[int]()
    begun.mkdir()
    with RayCluster(cluster.address) as workers:

        def with_harm(function: Callable[..., Any], tasks: Any, need: Need) -> Any:
            assert need.folder
            for event in workers(Held(function, begun), tasks, need):
                if isinstance(event, TaskDone):
                    attempts.append(event.attempts)
                elif not (begun / "go").exists():
                    wait(lambda: len(list(begun.iterdir())) == 3)  # a task on each node
                    first, *others = cluster.list_all_nodes()[1:]
                    cluster.remove_node(first, allow_graceful=False)
                    for node in others:
                        for process in tasks_of(node):
                            process.send_signal(signal.SIGKILL)
                    (begun / "go").touch()
                else:
                    assert 0 < event.value <= IMAGES
                yield event

        state, out = predict(tars, out="ray", workers=with_harm)
    assert attempts.count(2) >= 2  # a process of the lost node may end its task before it ends itself
    assert (state.failed, state.images, state.complete) == ({}, IMAGES, True)
    assert contents(out) == contents(whole)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Images for 300 shards of 10."""
    path = tmp_path / "many.npy"
    np.save(path, blocks(3000, seed=3)[0])
    return path


def test_a_killed_command_is_continued_by_the_same_command(
    predict: Callable[..., Any], cli: Callable[..., Result], run: misread.Run, many: Path, cluster: Any, tmp_path: Path
) -> None:
    _, whole = predict(str(many), out="whole", size=10)
    out = tmp_path / "ray"
    command = ["predict", run.folder, many, "--shard-size", 10, "--out", out, "--ray", cluster.address]
    process = subprocess.Popen([sys.executable, "-m", "misread", *map(str, command)])
    while not list(out.glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    if (out / "_SUCCESS").exists():
        pytest.skip("it was done before it was killed")
    first = {path: path.stat().st_mtime_ns for path in out.glob("0*.parquet")}
    done = cli(*command, "--json")  # at once, while Ray ends the tasks of the other
    assert done.code == 0, done.err
    assert json.loads(done.out)["images"] == 3000
    assert {path: path.stat().st_mtime_ns for path in first} == first  # what was done is not done again
    assert contents(out) == contents(whole)


def test_two_commands_in_one_folder_end_well(
    predict: Callable[..., Any], run: misread.Run, many: Path, cluster: Any, tmp_path: Path
) -> None:
    _, whole = predict(str(many), out="whole", size=10)
    out = tmp_path / "ray"
    command = ["predict", run.folder, many, "--shard-size", 10, "--out", out, "--ray", cluster.address, "--quiet"]
    both = [
        subprocess.Popen([sys.executable, "-m", "misread", *map(str, command)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    assert contents(out) == contents(whole)


def test_a_task_that_kills_every_process_fails_after_three_attempts(cluster: Any) -> None:
    with RayCluster(cluster.address) as workers:
        events = list(workers(kill_or_double, [1, "kill", 3, "raise"], Need()))
    ends = {event.index: event for event in events if isinstance(event, TaskDone)}
    assert (ends[0].result, ends[2].result) == (2, 6)
    assert isinstance(ends[1].error, TaskFailed)
    assert str(ends[1].error).startswith("Ray lost the task: ")
    assert str(ends[3].error) == "KeyError: 'no double'"
    assert [ends[i].attempts for i in range(4)] == [1, 3, 1, 3]
