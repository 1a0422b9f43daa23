"""One recipe, several seeds."""

import json
import multiprocessing
import os
import signal
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread import ImageSet
from misread.errors import RecipeError
from misread.runs.progress import Progress
from misread.runs.run_folder import find_unfinished, is_resumable
from misread.training.events import EpochEnded
from misread.training.worker_progress import TrainingProgress

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]', "name=small"]


def several(data: Any, *more: str, **settings: Any) -> Any:
    settings = {"epochs": 1, "out": "runs", "progress": False, "seeds": 3, **settings}
    return misread.train_seeds(data, "tutorial-mlp", settings=[*SMALL, *more], **settings)


def test_the_runs_equal_those_of_train_with_these_seeds(block_set: ImageSet) -> None:
    runs = several(block_set, seed=4).runs
    assert [run.record.seed for run in runs] == [4, 5, 6]
    assert len({run.folder for run in runs}) == 3
    for run in runs:
        alone = misread.train(
            block_set, "tutorial-mlp", settings=SMALL, seed=run.record.seed, epochs=1, out="alone", progress=False
        )
        np.testing.assert_array_equal(
            np.load(run.folder / "predictions-test.npz")["probs"],
            np.load(alone.folder / "predictions-test.npz")["probs"],
        )


def test_the_first_seed_is_by_default_that_of_the_recipe(block_set: ImageSet) -> None:
    assert [run.record.seed for run in several(block_set, "seed=9", seeds=2).runs] == [9, 10]


def test_the_summary_is_of_the_runs_test_results(block_set: ImageSet) -> None:
    done = several(block_set, seeds=4)
    misread_counts = [len(run.predictions("test").misreads) for run in done.runs]
    summary = done.summary
    assert summary["misread"]["mean"] == statistics.mean(misread_counts)
    assert summary["misread"]["median"] == statistics.median(misread_counts)
    assert summary["accuracy"]["mean"] == pytest.approx(1 - statistics.mean(misread_counts) / 80)
    assert summary["accuracy"]["standard_deviation"] == pytest.approx(statistics.stdev(misread_counts) / 80)
    assert summary["fit_seconds"]["max"] == max(run.record.timing.fit_seconds for run in done.runs)
    assert f"small on blocks, 4 seeds: test accuracy {summary['accuracy']['mean']:.3%}," in str(done)


def test_no_network_of_an_ensemble_is_in_two_runs(block_set: ImageSet) -> None:
    runs = several(block_set, "members=2", seeds=2).runs
    assert [run.record.seed for run in runs] == [0, 2]


@pytest.mark.parametrize("seeds", [1, 0, -1])
def test_fewer_than_two_seeds_are_refused(block_set: ImageSet, seeds: int) -> None:
    with pytest.raises(RecipeError, match=f"seeds is {seeds}, but must be 2 or more"):
        several(block_set, seeds=seeds)
    assert not Path("runs").exists()


class InterruptInEpoch(misread.Callback):
    """Presses Ctrl-C at the end of the n-th epoch it meets, over all trainings."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on_epoch_end(self, event: EpochEnded) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("epoch", "complete"), [(1, 0), (3, 1), (5, 2)])
def test_ctrl_c_ends_all_trainings_and_the_summary_covers_the_complete_ones(
    block_set: ImageSet, epoch: int, complete: int
) -> None:
    done = several(block_set, seeds=4, epochs=2, callbacks=[InterruptInEpoch(epoch)])
    assert [run.record.status for run in done.runs] == ["complete"] * complete + ["interrupted"]
    assert done.interrupted
    if complete < 2:
        assert done.summary is None
        assert "there is no summary" in str(done)
    else:
        assert done.summary["accuracy"]["count"] == complete


WEIGHTS = ("model.safetensors", "predictions-test.npz", "misreads-test.csv", "recipe.toml")


def contents_of(run: Any) -> dict[str, Any]:
    """What a training decides, of a run folder."""
    rows = [line.rsplit(",", 1)[0] for line in (run.folder / "history.csv").read_text().splitlines()]
    with np.load(run.folder / "predictions-test.npz") as arrays:
        probs = arrays["probs"].tobytes()
    return {"history": rows, "probs": probs, **{n: (run.folder / n).read_bytes() for n in WEIGHTS if n[0] != "p"}}


def test_several_processes_give_the_runs_of_one(block_set: ImageSet) -> None:
    one = several(block_set, threads=1, out="one")
    two = several(block_set, threads=1, out="two", workers=2)
    assert [run.record.seed for run in two.runs] == [0, 1, 2]
    for of_one, of_two in zip(one.runs, two.runs, strict=True):
        assert contents_of(of_one) == contents_of(of_two)
        assert of_two.record.environment.threads == 1
        assert of_two.metrics == of_one.metrics
    assert two.summary["accuracy"] == one.summary["accuracy"]
    assert multiprocessing.active_children() == []


class KillOnce(Progress):
    """Kills every process when both trainings can be resumed and one has a checkpoint."""

    def __init__(self, out: Path) -> None:
        self.out, self.killed = out, 0

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        # a process killed before its training can be resumed leaves a folder that nobody goes on with
        both_begun = len([*self.out.iterdir()]) == 2 and all(map(is_resumable, self.out.glob("*.partial")))
        if not self.killed and both_begun and list(self.out.glob("*.partial/checkpoints/member-*")):
            for process in multiprocessing.active_children():
                process.kill()
                self.killed += 1


def test_the_training_of_a_killed_process_is_continued(block_set: ImageSet) -> None:
    settings: dict[str, Any] = {"threads": 1, "seeds": 2, "epochs": 400}
    one = several(block_set, out="one", **settings)
    listener = KillOnce(Path("two"))
    two = several(block_set, out="two", workers=2, progress=listener, **settings)
    assert listener.killed == 2
    for of_one, of_two in zip(one.runs, two.runs, strict=True):
        assert contents_of(of_one) == contents_of(of_two)
    records = [json.loads((run.folder / "run.json").read_text()) for run in two.runs]
    assert any(record["interruptions"] for record in records)
    assert all(i["exact"] for record in records for i in record["interruptions"])
    assert not list(Path("two").glob("*.partial"))


def test_an_older_unfinished_training_of_the_same_seed_is_left_alone(block_set: ImageSet) -> None:
    older = misread.train(
        block_set, "tutorial-mlp", settings=SMALL, seed=0, epochs=2, threads=1, keep_checkpoints=True, progress=False
    ).folder
    partial = older.rename(f"{older}.partial")
    assert find_unfinished(Path("runs")) == [partial]
    done = several(block_set, seeds=2, epochs=2, workers=2)
    assert partial.is_dir()
    assert not any(run.record.interruptions for run in done.runs)


def test_what_several_workers_cannot_do_is_refused(block_set: ImageSet) -> None:
    with pytest.raises(RecipeError, match="0 workers train nothing. Use 1 or more"):
        several(block_set, workers=0)
    with pytest.raises(RecipeError, match="Callbacks and trackers are called in this process"):
        several(block_set, workers=2, callbacks=[misread.Callback()])
    with pytest.raises(RecipeError, match="seeds is 1, but must be 2 or more"):
        several(block_set, seeds=1, workers=2)
    assert not Path("runs").exists()
