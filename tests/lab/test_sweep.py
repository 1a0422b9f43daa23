"""Sweeps: what is chosen and by what, pruning, several processes, continuing, and what is left in the folder."""

import errno
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import misread
from misread import files
from misread.data.image_set import ImageSet
from misread.errors import RecipeError, RunError, TrainingError
from misread.lab import sweep as module
from misread.lab import trials
from misread.lab.search_space import SearchSpace, read_search_space
from misread.lab.sweep import sweep
from misread.training.recipe import load_recipe
from samples import Result, blocks

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


def test_the_better_of_two_planted_rates_wins_and_the_folder_is_complete(
    block_set: ImageSet, space: SearchSpace, tmp_path: Path
) -> None:
    begun = list[int]()
    found = sweep(block_set, space, trials=8, out=tmp_path / "s", threads=1, device="cpu", progress=begun.append)
    assert begun == list(range(1, 9))
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
        errors = queue.Queue[Exception]()  # a process of several reports it, too
        work = trials.Work(block_set, space, tmp_path / "new.log", "cpu", 1, time.time() + 60)
        trials._in_process(work, 0, None, errors)
        assert str(errors.get()) == "[Errno 28] No space left on device"
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


def test_a_trial_below_the_median_is_pruned(block_set: ImageSet, space: SearchSpace, tmp_path: Path) -> None:
    study = trials.open_study(tmp_path / "journal.log")
    for _ in range(trials.STARTUP_TRIALS):
        better = study.ask()
        better.report(1.0, 1)
        study.tell(better, 1.0)
    recipe = space.with_values({"optimizer.learning_rate": 1e-7, "batch_size": 64})
    _, state = trials.score_on_validation(block_set, recipe, "cpu", 1, [trials.Prune(study.ask())])
    assert (state.stopped, len(state.history)) == (trials.PRUNED, 1)


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
    with pytest.raises(RecipeError, match="must be 1 or more"):
        sweep(block_set, file, out=tmp_path / "s", workers=0)


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
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    states = [trial["state"] for trial in found["trials"]]
    assert len(states) - states.count("killed") == 6
    assert 0 <= found["test"]["accuracy_low"] <= found["test"]["accuracy"] <= found["test"]["accuracy_high"]
    assert Path(found["run"]).is_dir()
