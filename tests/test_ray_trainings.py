"""Folds, seeds, members and trials on a real Ray cluster of several nodes, some of which are killed in the middle."""

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import misread
from clusters import DIVERGES, SMALL, bits
from misread import ImageSet, ray_cluster
from misread.data.mapped_images import MappedImages
from misread.errors import RunError, TrainingError
from misread.lab.search_space import read_search_space
from misread.lab.sweep import sweep
from misread.lab.sweep_progress import SweepProgress
from misread.ray_cluster import RayCluster
from misread.runs.progress import FoldProgress, Progress
from misread.runs.run_folder import is_resumable
from misread.training.worker_progress import TrainingProgress
from misread.workers import Need, TaskDone
from ray_nodes import nodes, tasks_of
from ray_tasks import kill_or_double, meet, where
from samples import Result

pytest.importorskip("ray")
pytest.importorskip("psutil")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings

COMMON: dict[str, Any] = {"settings": SMALL, "threads": 1, "device": "cpu"}
LONG = 3000  # epochs: long enough that a report comes in the middle


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, nodes(patch, 2) as made:
        yield made


@pytest.fixture
def workers(cluster: Any) -> Iterator[RayCluster]:
    with RayCluster(cluster.address) as made:
        yield made


def kill_all(cluster: Any) -> int:
    """Kill every process that does a task; how many there were."""
    there = [process for node in cluster.list_all_nodes() for process in tasks_of(node)]
    for process in there:
        process.send_signal(signal.SIGKILL)
    return len(there)


class KillOnce(Progress):
    """Kills all processes when every run can be resumed and one has a checkpoint. runs: how many. rows: the table's."""

    def __init__(self, cluster: Any, out: Path, runs: int) -> None:
        self.cluster, self.out, self.runs, self.killed = cluster, out, runs, 0
        self.rows = dict[int, set[str]]()

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        self.rows.setdefault(worker, set()).add(training)
        # a process killed before its training can be resumed leaves a folder that nobody goes on with
        folders = [path for path in self.out.iterdir() if path.is_dir()]
        all_begun = len(folders) == self.runs and all(map(is_resumable, self.out.glob("*.partial")))
        if not self.killed and all_begun and list(self.out.glob("*.partial/checkpoints/**/member-*.safetensors")):
            self.killed = kill_all(self.cluster)


def test_seeds_of_killed_processes_are_continued(block_set: ImageSet, cluster: Any, workers: RayCluster) -> None:
    how = {**COMMON, "seeds": 2, "epochs": LONG}
    one = misread.train_seeds(block_set, "tutorial-mlp", out="one", progress=False, **how)
    killer = KillOnce(cluster, Path("two"), 2)
    two = misread.train_seeds(block_set, "tutorial-mlp", out="two", workers=workers, progress=killer, **how)
    assert killer.killed
    assert [bits(run.folder) for run in two.runs] == [bits(run.folder) for run in one.runs]
    interruptions = [i for run in two.runs for i in run.record.interruptions]
    assert interruptions
    assert all(i.exact for i in interruptions)
    assert {training for row in killer.rows.values() for training in row} <= {"seed 0", "seed 1"}
    assert {*killer.rows} <= {0, 1}  # a row for each training that runs
    assert not list(Path("two").glob("*.partial"))
    assert not list(Path("two").glob(".partial-*"))


def test_members_of_killed_processes_are_continued(block_set: ImageSet, cluster: Any, workers: RayCluster) -> None:
    how = {**COMMON, "settings": [*SMALL, "members=3"], "epochs": LONG}
    one = misread.train(block_set, "tutorial-mlp", out="one", progress=False, **how)
    killer = KillOnce(cluster, Path("two"), 1)
    two = misread.train(block_set, "tutorial-mlp", out="two", workers=workers, progress=killer, **how)
    assert killer.killed
    assert bits(two.folder) == bits(one.folder)
    assert two.record.environment.workers == 2
    assert two.record.interruptions


class KillFold(FoldProgress):
    def __init__(self, cluster: Any) -> None:
        super().__init__(Console(quiet=True))
        self.cluster, self.killed = cluster, 0

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        super().on_worker(worker, training, now)
        self.killed = self.killed or kill_all(self.cluster)


def test_folds_of_killed_processes_are_trained_again(block_set: ImageSet, cluster: Any, workers: RayCluster) -> None:
    how: dict[str, Any] = {**COMMON, "settings": [*SMALL, f"epochs={LONG}"], "folds": 3, "seeds": 1}
    one = misread.cross_val_predict(block_set, "tutorial-mlp", out="one", progress=False, **how)
    killer = KillFold(cluster)
    two = misread.cross_val_predict(block_set, "tutorial-mlp", out="two", workers=workers, progress=killer, **how)
    assert killer.killed
    assert two.members[0].probs.tobytes() == one.members[0].probs.tobytes()
    assert two.label_issues().equals(one.label_issues())


class KillTrial(SweepProgress):
    def __init__(self, cluster: Any) -> None:
        super().__init__(Console(quiet=True))
        self.cluster, self.killed = cluster, 0

    def on_steps(self, worker: int, trial: int, now: TrainingProgress) -> None:
        self.killed = self.killed or kill_all(self.cluster)


def test_trials_of_killed_processes_are_carried_out_again(
    block_set: ImageSet, cluster: Any, workers: RayCluster, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(
        'name = "small"\nepochs = 40\nlayers = [{type = "Flatten"}, {type = "Dense", units = 2000}, '
        '{type = "Dense", units = "classes"}]\n'
        "[search]\nbatch_size = {low = 8, high = 64}\n"
    )
    space = read_search_space(tmp_path / "space.toml")
    how: dict[str, Any] = {"trials": 5, "sampler": "random", "threads": 1, "device": "cpu"}
    one = sweep(block_set, space, out=tmp_path / "one", progress=False, **how)
    killer = KillTrial(cluster)
    two = sweep(block_set, space, out=tmp_path / "two", workers=workers, progress=killer, **how)
    assert killer.killed
    assert [dataclasses.replace(t, fit_seconds=None) for t in two.trials] == [
        dataclasses.replace(t, fit_seconds=None) for t in one.trials
    ]
    assert bits(two.run.folder) == bits(one.run.folder)


def test_an_error_ends_all_and_leaves_no_folder(block_set: ImageSet, cluster: Any, workers: RayCluster) -> None:
    diverging = [*DIVERGES, "members=3"]
    with pytest.raises(TrainingError, match="no longer finite"):
        misread.train(
            block_set, "tutorial-mlp", out="runs", workers=workers, progress=False,
            **{**COMMON, "settings": diverging, "epochs": LONG},
        )  # fmt: skip
    assert kill_all(cluster) == 0
    assert list(Path("runs").iterdir()) == []


def test_a_task_has_its_cores_as_threads_and_the_working_folder(workers: RayCluster) -> None:
    (end,) = [e for e in workers(where, ["x"], Need()) if hasattr(e, "result")]
    assert end.result == (os.getcwd(), os.environ["MISREAD_CACHE"], 1.0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_tasks_at_the_same_time_have_cores_of_their_own(workers: RayCluster, tmp_path: Path) -> None:
    mine = os.sched_getaffinity(0)
    if len(mine) < 2:
        pytest.skip("needs two cores")
    for name in ("first", "second"):  # the second time in the processes of the first
        folder = tmp_path / name
        folder.mkdir()
        events = workers(meet, [(folder, "a", 2), (folder, "b", 2)], Need())
        one, two = (event.result for event in events if isinstance(event, TaskDone))
        assert len(one) == len(two) == 1  # all threads of a process have the same
        assert not {*one} & {*two}
        assert [len(cores) for cores in (*one, *two)] == [len(mine) // 2] * 2
        assert frozenset().union(*one, *two) <= mine


def test_data_in_a_file_that_a_machine_lacks_is_refused(workers: RayCluster, tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.zeros((4, 2, 2, 1), np.uint8))
    images = MappedImages(np.load(path, mmap_mode="r"))
    shutil.move(path, tmp_path / "elsewhere.npy")  # as on a machine that has no such file
    (end,) = list(workers(Rows(images), [0], Need()))
    assert isinstance(end.error, RunError)
    assert end.attempts == 1
    assert "cannot open what the tasks need" in str(end.error)
    assert str(path) in str(end.error)
    assert "MISREAD_CACHE" in str(end.error)


class Rows:
    def __init__(self, images: MappedImages) -> None:
        self.images = images

    def __call__(self, task: int, report: Any) -> int:
        return len(self.images)


def test_more_threads_than_cores_are_refused(workers: RayCluster, block_set: ImageSet) -> None:
    with pytest.raises(RunError, match="needs 2 cores, which no machine .* has. The largest has 1 cores"):
        misread.train_seeds(
            block_set, "tutorial-mlp", seeds=2, workers=workers, progress=False, epochs=1, **{**COMMON, "threads": 2}
        )


def test_the_commands_take_the_address(cli: Callable[..., Result], cluster: Any, idx_folder: Path) -> None:
    few = ["--recipe", "tutorial-mlp", "--set", SMALL[0], "--set", "epochs=2", "--threads", 1]
    for number, command in enumerate([
        ["train", idx_folder, *few, "--seeds", 2, "--quiet"],
        ["train", idx_folder, *few, "--set", "members=2", "--quiet"],
        ["labels", "digits", *few, "--folds", 3, "--seeds", 1, "--json"],
    ]):  # fmt: skip
        one = cli(*command, "--out", f"one{number}")
        two = cli(*command, "--out", f"two{number}", "--ray", cluster.address)
        assert one.code == two.code == 0, two.err
        if command[0] == "labels":
            assert two.out == one.out
        else:
            of_one, of_two = ([bits(Path(line)) for line in result.out.splitlines()] for result in (one, two))
            assert of_two == of_one


def test_a_killed_process_leaves_no_trace_in_the_output(cli: Callable[..., Result], cluster: Any) -> None:
    few = ["--recipe", "tutorial-mlp", "--set", SMALL[0], "--set", "epochs=300", "--threads", "1"]
    command = ["labels", "digits", *few, "--folds", "3", "--seeds", "1", "--json", "--out"]
    one = cli(*command, "one")
    process = subprocess.Popen(
        [sys.executable, "-m", "misread", *command, "two", "--ray", cluster.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    killed = 0
    while not killed and process.poll() is None:
        time.sleep(0.2)
        killed = kill_all(cluster)
    out, err = process.communicate()
    assert killed
    assert (process.returncode, out) == (0, one.out)
    assert err.count("held-out images") == 6 + 1  # a line for each network, and that of the result
    assert "raylet" not in err


def test_a_lost_machine_is_not_waited_for_if_no_other_has_room(
    cluster: Any, workers: RayCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    monkeypatch.setattr(ray_cluster, "ROOM_SECONDS", 1)
    events = workers(kill_or_double, itertools.repeat(4), Need(cores=2))
    assert next(events).result == 8
    cluster.remove_node(large, allow_graceful=False)
    with pytest.raises(RunError, match="needs 2 cores, which no machine .* has. The largest has 1 cores"):
        list(events)


def test_a_node_is_lost_in_the_middle(block_set: ImageSet, cluster: Any, workers: RayCluster) -> None:
    """The last test, because the node does not come back."""

    class LoseOne(Progress):
        lost: Any = None

        def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
            busy = [node for node in cluster.list_all_nodes()[1:] if tasks_of(node)]
            if self.lost is None and busy:
                self.lost = busy[0]
                cluster.remove_node(self.lost, allow_graceful=False)

    how = {**COMMON, "seeds": 3, "epochs": LONG}
    one = misread.train_seeds(block_set, "tutorial-mlp", out="one", progress=False, **how)
    listener = LoseOne()
    two = misread.train_seeds(block_set, "tutorial-mlp", out="two", workers=workers, progress=listener, **how)
    assert listener.lost is not None
    assert [bits(run.folder) for run in two.runs] == [bits(run.folder) for run in one.runs]
    assert list(workers(kill_or_double, [4], Need()))[-1].result == 8  # the cluster goes on
