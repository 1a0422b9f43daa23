"""One recipe, several seeds."""

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
from misread.training.events import EpochEnded

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
