"""A Ray cluster of several nodes on this machine, for tests."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import matplotlib
import pytest


@contextmanager
def nodes(monkeypatch: pytest.MonkeyPatch, count: int = 3) -> Iterator[Any]:
    """A head without cores, and nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # other work may hold the machine
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # its processes import the tests' modules
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(count):
            made.add_node(**node)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def tasks_of(node: Any) -> list[Any]:
    """The processes of a node that do a task now."""
    import psutil

    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    found = []
    for child in raylet.children():
        with suppress(psutil.Error):  # it has just ended
            if child.cmdline() and child.cmdline()[0].startswith("ray::_call"):
                found.append(child)
    return found
