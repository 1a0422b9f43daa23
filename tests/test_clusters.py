"""Folds, seeds, members and trials on a cluster give what this process gives; what a cluster must offer them."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import misread
from clusters import DIVERGES, SMALL, Elsewhere, bits
from misread import ImageSet
from misread.errors import RecipeError, TrainingError
from misread.lab.search_space import read_search_space
from misread.lab.sweep import sweep
from misread.workers import Need

COMMON: dict[str, Any] = {"settings": SMALL, "epochs": 2, "threads": 1, "device": "cpu", "progress": False}


def test_folds() -> None:
    data = misread.load("digits")
    how: dict[str, Any] = {"folds": 3, "settings": [*SMALL, "epochs=1"], "threads": 1, "device": "cpu"}
    cluster = Elsewhere()
    one, two = (
        misread.cross_val_predict(data, "tutorial-mlp", seeds=2, out=out, workers=workers, progress=False, **how)
        for out, workers in (("one", 1), ("two", cluster))
    )
    assert [m.probs.tobytes() for m in two.members] == [m.probs.tobytes() for m in one.members]
    assert two.label_issues().equals(one.label_issues())
    assert set(cluster.needs) == {Need(cores=1)}
    assert cluster.tasks == 2 * (3 + 3)


def test_seeds(block_set: ImageSet) -> None:
    cluster = Elsewhere()
    one, two = (
        misread.train_seeds(block_set, "tutorial-mlp", seeds=3, out=out, workers=workers, **COMMON)
        for out, workers in (("one", 1), ("two", cluster))
    )
    assert [bits(run.folder) for run in two.runs] == [bits(run.folder) for run in one.runs]
    assert two.summary["accuracy"] == one.summary["accuracy"]
    assert cluster.needs == [Need(cores=1, folder=Path("two"))]


def test_members(block_set: ImageSet) -> None:
    cluster = Elsewhere()
    how = {**COMMON, "settings": [*SMALL, "members=3"]}
    one, two = (
        misread.train(block_set, "tutorial-mlp", out=out, workers=workers, **how)
        for out, workers in (("one", 1), ("two", cluster))
    )
    assert bits(two.folder) == bits(one.folder)
    (need,) = cluster.needs
    assert (need.cores, need.gpus) == (1, 0)
    assert need.folder is not None
    assert need.folder.parts[0] == "two"
    assert two.record.environment.workers == 1  # this cluster does one task after the other
    assert cluster.tasks == 3


def test_an_ensemble_goes_on_where_it_is_told_to(block_set: ImageSet) -> None:
    class Ends(Elsewhere):
        def __call__(self, function: Any, tasks: Any, need: Need) -> Any:
            yield from super().__call__(function, tasks[:1], need)
            raise KeyboardInterrupt

    how = {**COMMON, "settings": [*SMALL, "members=3"]}
    whole = misread.train(block_set, "tutorial-mlp", out="whole", **how)
    for out, workers in (("cluster", Elsewhere()), ("default", None)):
        with pytest.raises(KeyboardInterrupt):
            misread.train(block_set, "tutorial-mlp", out=out, workers=Ends(), **how)
        (partial,) = Path(out).iterdir()
        resumed = misread.resume(partial, data=block_set, workers=workers, progress=False)
        assert bits(resumed.folder) == bits(whole.folder)
        assert resumed.record.environment.workers == 1
        if isinstance(workers, Elsewhere):
            assert workers.tasks == 2


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_trials(block_set: ImageSet, tmp_path: Path, sampler: str) -> None:
    (tmp_path / "space.toml").write_text(
        'name = "small"\nepochs = 1\nlayers = [{type = "Flatten"}, {type = "Dense", units = "classes"}]\n'
        "[search]\nbatch_size = {low = 8, high = 64}\n"
    )
    space, cluster = read_search_space(tmp_path / "space.toml"), Elsewhere()
    how: dict[str, Any] = {"trials": 12, "sampler": sampler, "threads": 1, "device": "cpu", "progress": False}
    one, two = (
        sweep(block_set, space, out=tmp_path / out, workers=workers, **how)
        for out, workers in (("one", 1), ("two", cluster))
    )
    assert [dataclasses.replace(t, fit_seconds=None) for t in two.trials] == [
        dataclasses.replace(t, fit_seconds=None) for t in one.trials
    ]
    assert bits(two.run.folder) == bits(one.run.folder)
    assert cluster.needs == [Need(cores=1)]


def test_a_training_reserves_its_threads_and_by_default_one() -> None:
    data = misread.load("digits")
    for threads, cores in ((2, 2), (None, 1)):
        cluster = Elsewhere()
        how = {**COMMON, "threads": threads, "epochs": 1}
        done = misread.train_seeds(data, "tutorial-mlp", seeds=2, workers=cluster, **how)
        assert [need.cores for need in cluster.needs] == [cores]
        assert {run.record.environment.threads for run in done.runs} == {cores}


def test_an_error_in_a_task_is_the_error_of_all(block_set: ImageSet) -> None:
    with pytest.raises(TrainingError, match="no longer finite"):
        misread.train_seeds(
            block_set, "tutorial-mlp", seeds=2, workers=Elsewhere(), **{**COMMON, "settings": DIVERGES, "epochs": 50}
        )


def test_what_a_cluster_cannot_do_is_refused(block_set: ImageSet) -> None:
    how = {**COMMON, "workers": Elsewhere()}
    with pytest.raises(RecipeError, match="trains a single network, which a cluster cannot share. Train it without"):
        misread.train(block_set, "tutorial-mlp", **how)
    with pytest.raises(RecipeError, match="Callbacks and trackers are called in this process"):
        misread.train_seeds(block_set, "tutorial-mlp", callbacks=[misread.Callback()], **how)
    with pytest.raises(RecipeError, match="0 threads are not possible"):
        misread.train_seeds(block_set, "tutorial-mlp", **{**how, "threads": 0})
    assert not Path("runs").exists()
