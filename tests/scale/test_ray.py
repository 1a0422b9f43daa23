"""A Ray cluster of several nodes on this machine, of which a process and a node are killed in the middle."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import pytest

from misread.scale.ray_engine import ray_engine
from misread.workers import TaskDone, TaskFailed
from ray_tasks import kill_or_double
from shard_jobs import IMAGES, contents

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores, and three nodes of one core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other work may hold the machine
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # its processes import this module
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        made.add_node(**node)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()


def workers_of(node: Any) -> list[Any]:
    """The processes of a node that do a task now."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return [child for child in raylet.children() if child.cmdline()[0].startswith("ray::_call")]


def test_a_job_survives_a_killed_process_and_a_killed_node(
    predict: Callable[..., Any], tars: str, cluster: Any
) -> None:
    _, whole = predict(tars, out="whole")
    engine = ray_engine(cluster.address)
    lost: list[Any] = []
    attempts: list[int] = []

    def with_harm(function: Callable[..., Any], tasks: Any) -> Any:
        for event in engine(function, tasks):
            assert isinstance(event, TaskDone)
            attempts.append(event.attempts)
            if not lost:
                nodes = cluster.list_all_nodes()[1:]
                lost.append(nodes[0])
                cluster.remove_node(nodes[0], allow_graceful=False)
                for worker in workers_of(nodes[1]) + workers_of(nodes[2]):
                    worker.send_signal(signal.SIGKILL)
            yield event

    state, out = predict(tars, out="ray", engine=with_harm)
    assert max(attempts) > 1  # something was lost and done again
    assert (state.failed, state.images, state.complete) == ({}, IMAGES, True)
    assert contents(out) == contents(whole)


def test_a_task_that_kills_every_process_fails_after_three_attempts(cluster: Any) -> None:
    events = list(ray_engine(cluster.address)(kill_or_double, [1, "kill", 3, "raise"]))
    ends = {event.index: event for event in events if isinstance(event, TaskDone)}
    assert (ends[0].result, ends[2].result) == (2, 6)
    assert isinstance(ends[1].error, TaskFailed)
    assert str(ends[1].error).startswith("Ray lost the task: ")
    assert str(ends[3].error) == "KeyError: 'no double'"
    assert [ends[i].attempts for i in range(4)] == [1, 3, 1, 3]
