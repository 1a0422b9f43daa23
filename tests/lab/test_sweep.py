"""Sweeps: what is chosen and by what, pruning, several processes, continuing, and what is left in the folder."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

import misread
from misread import files
from misread.data.image_set import ImageSet
from misread.errors import RecipeError, RunError, TrainingError
from misread.lab import sweep as module
from misread.lab import trials
from misread.lab.search_space import SearchSpace, read_search_space
from misread.lab.sweep import Sweep, TrialRow, sweep
from misread.lab.sweep_progress import SweepProgress
from misread.training.events import EpochEnded
from misread.training.recipe import load_recipe
from misread.training.session import TrainState
from misread.training.worker_progress import TrainingProgress
from samples import Result, blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

SPACE = """
name = "small"
epochs = 2
layers = [{type = "Flatten"}, {type = "Dense", units = "classes"}]
[search]
"optimizer.learning_rate" = {choices = [1e-7, 0.01]}
batch_size = {low = 8, high = 64}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    return tmp_path / "space.toml"


@pytest.fixture
def space(file: Path) -> SearchSpace:
    return read_search_space(file)


class Listener(SweepProgress):
    """Keeps the numbers of the trials that ended. kill: once, each process of the sweep, in its first steps."""

    def __init__(self, kill: bool = False) -> None:
        super().__init__(Console(quiet=True))
        self.ended, self.kill = list[int](), kill

    def on_steps(self, worker: int, trial: int, now: TrainingProgress) -> None:
        if self.kill:
            self.kill = False
            for process in multiprocessing.active_children():
                os.kill(process.pid or 0, signal.SIGKILL)

    def on_trial_end(self, trial: int, outcome: str, values: Any) -> None:
        self.ended.append(trial)


def test_the_better_of_two_planted_rates_wins_and_the_folder_is_complete(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path
) -> None:
    listener = Listener()
    found = sweep(block_set, space, trials=8, out=tmp_path / "s", threads=1, device="cpu", progress=listener)
    assert sorted(listener.ended) == listener.ended == list(range(8))
    assert [trial.number for trial in found.trials] == list(range(8))
    assert found.best.values["optimizer.learning_rate"] == 0.01
    assert found.best.score == max(trial.score for trial in found.trials if trial.score is not None)
    assert load_recipe(tmp_path / "s" / "best.toml") == found.recipe
    assert (tmp_path / "s" / "search.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["best"] == vars(found.best)
    run = misread.open_run(found.run.folder, data=block_set)
    assert run.history.iloc[-1]["val_accuracy"] == found.best.score  # the same training as the trial
    assert run.metrics["test"] == found.run.metrics["test"]


def test_trials_do_not_look_at_the_test_split(space: SearchSpace) -> None:
    train, (images, labels) = blocks(320), blocks(80, seed=1)
    recipe = space.with_values({"optimizer.learning_rate": 0.01, "batch_size": 16})
    scores = [
        trials.score_on_validation(ImageSet.from_arrays(*train, test=test, name="b"), recipe, "cpu", 1, [])[0]
        for test in ((images, labels), (255 - images, labels[::-1]))
    ]
    assert scores[0] == scores[1]


def test_a_continued_sweep_carries_out_only_the_other_trials(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu"}
    first = sweep(block_set, space, trials=3, **common)
    again = sweep(block_set, space, trials=3, **common)
    assert (again.trials, again.run.folder) == (first.trials, first.run.folder)  # nothing to do; not trained again
    longer = sweep(block_set, space, trials=5, **common)
    assert longer.trials[:3] == first.trials
    assert len(longer.trials) == 5
    assert longer.times_scored == (1 if longer.best == first.best else 2)
    no_time = sweep(block_set, space, trials=9, seconds=0, **common)
    assert len(no_time.trials) == 5


def test_a_killed_trial_is_repeated_with_its_values(block_set: ImageSet, space: SearchSpace, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    killed = trials.open_study(tmp_path / "s" / "journal.log").ask()
    values = space.draw(killed)
    found = sweep(block_set, space, trials=2, out=tmp_path / "s", threads=1, device="cpu")
    assert [trial.state for trial in found.trials] == ["killed", "complete", "complete"]
    assert found.trials[1].values == values


def test_a_full_disk_is_one_message_and_loses_no_trial(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu"}
    first = sweep(block_set, space, trials=2, **common)
    journal = tmp_path / "s" / module.JOURNAL

    def full(backend: Any, logs: Any) -> None:
        with journal.open("a") as file:
            file.write('{"op_code":4,"wor')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(trials.JournalFileBackend, "append_logs", full)
        with pytest.raises(RunError, match="s cannot be written: No space left on device. Free some space, or choose"):
            sweep(block_set, space, trials=4, **common)
    again = sweep(block_set, space, trials=4, **common)
    assert again.trials[:2] == first.trials
    assert [trial.state for trial in again.trials] == ["complete"] * 4
    assert sweep(block_set, space, trials=4, **common).trials == again.trials


def test_a_damaged_journal_or_result_is_named(block_set: ImageSet, space: SearchSpace, tmp_path: Path) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu"}
    sweep(block_set, space, trials=1, **common)
    (tmp_path / "s" / module.RESULT).write_text("[]")
    with pytest.raises(RunError, match=r"sweep.json is damaged. Remove it"):
        sweep(block_set, space, trials=1, **common)
    journal = tmp_path / "s" / module.JOURNAL
    for damaged in (b"{" + journal.read_bytes(), journal.read_bytes().replace(b"op_code", b"op_kode", 1)):
        journal.write_bytes(damaged)
        with pytest.raises(RunError, match=r"journal.log is damaged: .*Remove .*s, or use another --out"):
            sweep(block_set, space, trials=1, **common)


def test_a_changed_value_in_the_journal_is_noticed(block_set: ImageSet, space: SearchSpace, tmp_path: Path) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu"}
    first = sweep(block_set, space, trials=2, **common)
    journal = tmp_path / "s" / module.JOURNAL
    *lines, last = journal.read_text().splitlines(keepends=True)
    value = next(i for i, line in enumerate(lines) if '"values":[' in line)
    better = lines[value].replace('"values":[', '"values":[1')
    journal.write_text("".join([*lines[:value], better, *lines[value + 1 :], last]))
    with pytest.raises(RunError, match=r"journal.log is damaged: the check of a line is .*Remove .*s, or use another"):
        sweep(block_set, space, trials=2, **common)
    journal.write_text("".join(lines) + last.replace('"values":[', '"values":[1'))
    again = sweep(block_set, space, trials=2, **common)  # of a last line its trial is done again
    assert [trial.score for trial in again.trials if trial.state == "complete"] == [t.score for t in first.trials]


def test_a_journal_of_an_older_misread_is_continued(block_set: ImageSet, space: SearchSpace, tmp_path: Path) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu"}
    first = sweep(block_set, space, trials=2, **common)
    journal = tmp_path / "s" / module.JOURNAL
    logs = [json.loads(line) for line in journal.read_text().splitlines()]
    assert all(log.pop("check") for log in logs)
    journal.write_text("".join(json.dumps(log) + "\n" for log in logs))
    assert sweep(block_set, space, trials=2, **common).trials == first.trials


def test_a_diverging_trial_fails_and_the_sweep_goes_on(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = trials.score_on_validation, list[int]()

    def diverging(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) != 2:
            raise TrainingError("The loss is no longer finite: nan.")
        return real(*arguments)

    monkeypatch.setattr(trials, "score_on_validation", diverging)
    found = sweep(block_set, space, trials=3, out=tmp_path / "s", threads=1, device="cpu")
    assert [trial.state for trial in found.trials] == ["failed", "complete", "failed"]
    with pytest.raises(TrainingError, match="None of the 1 trials"):
        sweep(block_set, space, trials=1, out=tmp_path / "none", threads=1, device="cpu")


def test_a_trial_below_the_median_is_pruned(block_set: ImageSet, space: SearchSpace) -> None:
    values = {"optimizer.learning_rate": 1e-7, "batch_size": 64}
    trainings = trials.Trainings(block_set, space, "cpu", 1)
    result = trainings.carry_out(trials.TrialTask(0, values, {1: 1.0}), lambda value: None)
    assert (result.score, result.error, len(result.accuracies)) == (None, None, 1)
    assert "pruned in epoch 1" in str(result)


@pytest.mark.parametrize("earlier", [4, 5, 8])
def test_trials_are_stopped_where_optunas_median_pruner_stops_them(earlier: int, tmp_path: Path) -> None:
    """On planted curves of different lengths, some of them pruned."""
    study = trials.open_study(tmp_path / "journal.log")
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=trials.STARTUP_TRIALS)
    rng = np.random.default_rng(earlier)
    for number in range(earlier + 1):
        trial = study.ask()
        for epoch in range(1, 7 - number % 3):
            trial.report(rng.random(), epoch)
        if number:
            study.tell(trial, rng.random())
        else:
            study.tell(trial, state=TrialState.PRUNED)
    stopped = []
    for _ in range(20):
        trial, prune = study.ask(), trials.Prune(trials.medians(study))
        for epoch, accuracy in enumerate(rng.random(6), 1):
            trial.report(accuracy, epoch)
            state = TrainState(0)
            row: Any = {"epoch": epoch, "val_accuracy": accuracy}
            prune.on_epoch_end(EpochEnded(state, None, row, 99, None))  # type: ignore[arg-type]
            assert bool(state.stopped) == trial.should_prune()
            stopped.append(trial.should_prune())
        study.tell(trial, state=TrialState.FAIL)
    assert any(stopped) == (earlier >= trials.STARTUP_TRIALS)
    assert not all(stopped)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_first_ten_trials_do_not_depend_on_which_others_have_ended(
    sampler: str, space: SearchSpace, tmp_path: Path
) -> None:
    drawn = []
    for together in (1, 4):
        study = trials.open_study(tmp_path / f"{together}.log")
        running: list[optuna.Trial] = []
        values = []
        for number in range(13):
            running.append(trials._ask(study, sampler))
            values.append(space.draw(running[-1]))
            if len(running) == together:
                study.tell(running.pop(), 1 / (number + 1))
        drawn.append(values)
    same = [first == second for first, second in zip(*drawn, strict=True)]
    assert all(same[:10])
    assert all(same) == (sampler == "random")
    assert len({str(values) for values in drawn[0]}) > 6


def without_times(found: Sweep) -> list[TrialRow]:
    return [replace(trial, fit_seconds=None) for trial in found.trials]


def test_random_trials_are_the_same_with_two_processes_also_if_both_are_killed(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"sampler": "random", "threads": 1, "device": "cpu", "progress": False}
    one = sweep(block_set, space, trials=7, out=tmp_path / "one", **common)
    listener = Listener(kill=True)
    two = sweep(block_set, space, trials=7, workers=2, out=tmp_path / "two", **(common | {"progress": listener}))
    assert not listener.kill
    assert sorted(listener.ended) == list(range(7))
    assert without_times(two) == without_times(one)
    assert {trial.state for trial in two.trials} == {"complete"}
    assert len({str(trial.values) for trial in two.trials}) > 4
    weights = [(found.run.folder / "model.safetensors").read_bytes() for found in (one, two)]
    assert weights[0] == weights[1]
    assert multiprocessing.active_children() == []


def test_a_continued_sweep_draws_what_an_uninterrupted_one_draws(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"sampler": "random", "threads": 1, "device": "cpu", "progress": False}
    whole = sweep(block_set, space, trials=5, out=tmp_path / "whole", **common)
    sweep(block_set, space, trials=2, out=tmp_path / "parts", **common)
    study = trials.open_study(tmp_path / "parts" / "journal.log")
    killed = trials._ask(study, "random")
    space.draw(killed)
    continued = sweep(block_set, space, trials=5, out=tmp_path / "parts", **common)
    assert [trial.state for trial in continued.trials].count("killed") == 1
    done = [(trial.values, trial.score) for trial in continued.trials if trial.state == "complete"]
    assert done == [(trial.values, trial.score) for trial in whole.trials]


def test_another_sweep_or_another_process_in_the_folder_is_refused(
    block_set: ImageSet, file: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"out": tmp_path / "s", "threads": 1, "device": "cpu", "trials": 1}
    sweep(block_set, file, **common)
    with pytest.raises(RunError, match="has another recipe"):
        sweep(block_set, file, settings={"epochs": 3}, **common)
    with pytest.raises(RunError, match="has another data"):
        sweep(ImageSet.from_arrays(*blocks(60), test=blocks(20, seed=1), name="b"), file, **common)
    with (
        (tmp_path / "s" / module.LOCK).open("wb") as lock,
        files.locked(lock),
        pytest.raises(RunError, match="Another process"),
    ):
        sweep(block_set, file, **common)
    with pytest.raises(RunError, match="has another sampler"):
        sweep(block_set, file, sampler="random", **common)
    with pytest.raises(RecipeError, match="0 workers train nothing"):
        sweep(block_set, file, out=tmp_path / "s", workers=0)
    with pytest.raises(RecipeError, match="0 trials try nothing. Use 1 or more"):
        sweep(block_set, file, out=tmp_path / "s", trials=0)
    with pytest.raises(RecipeError, match="There is no sampler 'grid'. Known: tpe, random"):
        sweep(block_set, file, out=tmp_path / "s", sampler="grid")


def test_without_optuna_the_way_to_install_it_is_told(
    block_set: ImageSet, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "misread.lab.trials")
    monkeypatch.delattr("misread.lab.trials")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RunError, match=r"pip install 'misread\[sweep\]'"):
        sweep(block_set, file, out=tmp_path / "s")


def test_two_processes_share_the_trials_and_a_kill_loses_none(
    cli: Callable[..., Result], idx_folder: Path, file: Path, tmp_path: Path
) -> None:
    command = ["sweep", idx_folder, file, "--trials", 6, "--workers", 2, "--threads", 1, "--out", tmp_path / "s"]
    process = subprocess.Popen([sys.executable, "-m", "misread", *map(str, command)])
    journal, deadline = tmp_path / "s" / "journal.log", time.monotonic() + 120
    while not (journal.is_file() and journal.stat().st_size > 1000) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = cli(*command, "--workers", 1, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    states = [trial["state"] for trial in found["trials"]]
    assert len(states) - states.count("killed") == 6
    assert 0 <= found["test"]["accuracy_low"] <= found["test"]["accuracy"] <= found["test"]["accuracy_high"]
    assert Path(found["run"]).is_dir()
