"""A job of shards on a Ray cluster of several nodes, of which a process and a node are killed in the middle."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from misread.ray_cluster import RayCluster
from misread.workers import Need, TaskDone, TaskFailed, TaskProgress
from ray_nodes import nodes, tasks_of
from ray_tasks import kill_or_double
from shard_jobs import IMAGES, contents

pytest.importorskip("ray")
pytest.importorskip("psutil")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with nodes(monkeypatch) as made:
        yield made


def test_a_job_survives_a_killed_process_and_a_killed_node(
    predict: Callable[..., Any], tars: str, cluster: Any
) -> None:
    _, whole = predict(tars, out="whole")
    lost: list[Any] = []
    attempts: list[int] = []
    with RayCluster(cluster.address) as workers:

        def with_harm(function: Callable[..., Any], tasks: Any, need: Need) -> Any:
            assert need.folder
            for event in workers(function, tasks, need):
                if isinstance(event, TaskProgress):
                    assert 0 < event.value <= IMAGES
                    yield event
                    continue
                attempts.append(event.attempts)
                if not lost:
                    alive = cluster.list_all_nodes()[1:]
                    lost.append(alive[0])
                    cluster.remove_node(alive[0], allow_graceful=False)
                    for worker in tasks_of(alive[1]) + tasks_of(alive[2]):
                        worker.send_signal(signal.SIGKILL)
                yield event

        state, out = predict(tars, out="ray", workers=with_harm)
    assert max(attempts) > 1  # something was lost and done again
    assert (state.failed, state.images, state.complete) == ({}, IMAGES, True)
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
