"""A worker, a machine or the command itself dies in the middle of a job of shards: local processes and Ray."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from works import PICTURES, Row, World, hashes

SHARDS = 100
Harm = Callable[[int], bool]  # given the process of the command; whether it met something


class Team(NamedTuple):
    """Who does the shards: the options of the command, and what can die beside the command itself."""

    options: list[str]
    harms: dict[str, Harm]


def lost(world: World, rng: random.Random, times: int) -> Iterator[Row]:
    """Whatever dies, the same files are there at the end; a command that was killed is given again."""
    yield from _harmed(world, rng, times, Team(["--workers", "2"], {"a worker": _kill_a_worker}))
    if not find_spec("ray"):
        print("  Ray is not installed, so nothing is killed there")
        return
    with _nodes() as team:
        yield from _harmed(world, rng, times, team)


def _harmed(world: World, rng: random.Random, times: int, team: Team) -> Iterator[Row]:
    with world.scratch() as folder:
        expected = _Job(world, folder / "whole", team.options)
        expected.start()
        seconds = expected.wait()
        whole = expected.files()
    for what, harm in {"the command": _kill, **team.harms}.items():
        wrong: list[str] = []
        met = 0
        for _ in range(times):
            with world.scratch() as folder:
                job = _Job(world, folder / "job", team.options)
                job.start()
                time.sleep(rng.uniform(0, seconds))
                met += harm(job.process.pid)
                job.wait()
                if harm is _kill and job.process.returncode:
                    job.start()
                    job.wait()
                if job.process.returncode or job.said:
                    wrong.append(f"{job.process.returncode}: {job.said}")
                elif job.files() != whole or list(job.out.glob(".partial-*")):
                    wrong.append("other files")
        yield Row(f"SIGKILL of {what} in `predict --out` with `{team.options[0]}` ({met} met it running)", times, wrong)


class _Job:
    """The command in a process of its own."""

    def __init__(self, world: World, out: Path, options: list[str]) -> None:
        size = ["--shard-size", str(PICTURES // SHARDS), "--quiet", *options]
        self._command = [sys.executable, "-m", "misread", "predict", str(world.run), str(world.pictures), *size]
        self.out = out

    def start(self) -> None:
        """Start the command, and wait for its first shard."""
        command = [*self._command, "--out", str(self.out)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not list(self.out.glob("*.parquet")) and self.process.poll() is None:
            time.sleep(0.002)

    def wait(self) -> float:
        """Wait for the end; the seconds that it took."""
        began = time.monotonic()
        _, self.said = self.process.communicate()
        return time.monotonic() - began

    def files(self) -> dict[str, str]:
        """All but `job.json`, which has the paths of the shards."""
        return hashes(self.out)


def _children(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == process:
                found.append(int(stat.parent.name))
    return found


def _kill(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return True
    return False


def _kill_a_worker(command: int) -> bool:
    """The workers are started by a server of the command."""
    workers = [worker for server in _children(command) for worker in _children(server)]
    return bool(workers) and _kill(workers[0])


@contextmanager
def _nodes() -> Iterator[Team]:
    """A Ray cluster on this machine: a head without cores, and two nodes of one core. A lost one is replaced."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    node: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "include_dashboard": False})

    def kill_a_task(command: int) -> bool:
        raylets = [n.all_processes["raylet"][0].process.pid for n in cluster.list_all_nodes()]
        return any(_is_task(child) and _kill(child) for raylet in raylets for child in _children(raylet))

    def lose_a_node(command: int) -> bool:
        cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
        cluster.add_node(**node)
        return True

    try:
        for _ in range(2):
            cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield Team(["--ray", cluster.address], {"the process of a task": kill_a_task, "a node": lose_a_node})
    finally:
        cluster.shutdown()


def _is_task(process: int) -> bool:
    with suppress(OSError):  # it has just ended
        return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::_call")
    return False
