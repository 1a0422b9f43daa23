"""`misread train` on several ranks: one result, one message, and a resumed training after a rank has died."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranked
from samples import Result

pytestmark = pytest.mark.slow  # tests/training/test_ranks.py compares ranks without commands

LAYERS = 'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dense", units="classes"}]'
SETTINGS = (LAYERS, "name=tiny", "batch_size=64", "validation.name=carve")
TINY = [*(part for setting in SETTINGS for part in ("--set", setting)), "--device", "cpu"]
TRAIN = ["train", "digits", *TINY]


def until(there: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end
        time.sleep(0.02)


def probs(folder: Path | str) -> np.ndarray:
    with np.load(Path(folder) / "predictions-test.npz") as arrays:
        return arrays["probs"]


def test_two_ranks_write_one_run_with_the_results_of_one() -> None:
    first, second = ranked.ends(ranked.start(2, *TRAIN, "--epochs", 3, "--json", "--out", "two"))
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (second.out, second.err) == ("", "")
    (alone,) = ranked.ends(ranked.start(1, *TRAIN, "--epochs", 3, "--json", "--out", "one"))
    two, one = json.loads(first.out), json.loads(alone.out)
    assert (two["environment"]["ranks"], one["environment"]["ranks"]) == (2, 1)
    assert two["engine"]["name"] == one["engine"]["name"] == "torch"
    assert [path.name for path in Path("two").iterdir()] == [Path(two["folder"]).name]
    np.testing.assert_allclose(probs(two["folder"]), probs(one["folder"]), atol=1e-4)


def test_torchrun_starts_the_ranks() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port",
         str(ranked.free_port()), "-m", "misread", *TRAIN, "--epochs", "1", "--quiet"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [str(path) for path in Path("runs").iterdir()] == done.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digits", "--recipe", "tutorial-mpl"], "tutorial-mpl"),
        ([*TRAIN, "--seconds", "5"], "Ranks cannot train by seconds, because their clocks differ. Use epochs."),
        ([*TRAIN, "--seeds", "2"], "--seeds is for one process"),
        (["train", "nowhere/at/all"], "nowhere/at/all"),
    ],
)
def test_a_mistake_of_all_ranks_is_told_once(arguments: list[str], message: str) -> None:
    first, second = ranked.ends(ranked.start(2, *arguments))
    assert (first.code, second.code, second.err) == (2, 2, "")
    assert message in first.err
    assert first.err.count("Error:") == 1
    assert not Path("runs").exists()


def test_ranks_that_differ_are_refused() -> None:
    commands = [(*TRAIN, "--seed", seed) for seed in (1, 2)]
    first, second = ranked.ends(ranked.start_each(commands))
    assert (first.code, second.code, second.err) == (2, 2, "")
    assert "Rank 1 has another recipe than rank 0. Give all ranks the same command" in first.err
    first, second = ranked.ends(ranked.start_each([(*TRAIN,), ("train", "nowhere", *TINY)]))
    assert (first.code, second.code, second.err) == (2, 2, "")
    assert "Error: Rank 1: " in first.err
    assert "nowhere" in first.err


def begun(out: str) -> Path:
    """The folder of a training that has a checkpoint."""
    until(lambda: list(Path(out).glob("*.partial/checkpoints/member-*")))
    return next(Path(out).glob("*.partial"))


def killed_in_the_middle() -> tuple[Path, Result]:
    """The folder of a training of two ranks of which the second was killed, and how the first ended."""
    processes = ranked.start(2, *TRAIN, "--epochs", 60)
    partial = begun("runs")
    processes[1].kill()
    first, _ = ranked.ends(processes)
    return partial, first


def test_a_dead_rank_ends_the_training_and_other_ranks_go_on_with_it(cli: Callable[..., Result]) -> None:
    partial, first = killed_in_the_middle()
    assert first.code == 1
    assert "Another rank ended, or did not answer within 10 minutes" in first.err
    assert first.err.count("Error:") == 1
    assert "Traceback" not in first.err
    refused = cli("train", "--resume", partial)
    assert refused.code == 2
    assert f"torchrun --nproc-per-node 1 -m misread train --resume {partial}" in refused.err
    shutil.copytree(partial, "copy/again.partial")
    (one,) = ranked.ends(ranked.start(1, "train", "--resume", partial, "--json"))
    assert one.code == 0, one.err
    record = json.loads(one.out)
    (interruption,) = record["interruptions"]
    assert (interruption["exact"], interruption["reason"]) == (False, "ranks was 2, now it is 1")
    assert record["status"] == "complete"
    resumed = ranked.ends(ranked.start(2, "train", "--resume", "copy/again", "--json"))
    assert [end.code for end in resumed] == [0, 0], resumed
    again = json.loads(resumed[0].out)
    assert again["interruptions"][0]["exact"]
    whole = ranked.ends(ranked.start(2, *TRAIN, "--epochs", 60, "--json", "--out", "whole"))
    np.testing.assert_array_equal(probs(again["folder"]), probs(json.loads(whole[0].out)["folder"]))
    agree = probs(record["folder"]).argmax(axis=1) == probs(again["folder"]).argmax(axis=1)
    assert agree.mean() > 0.98  # rounding, grown over 60 epochs


def test_ctrl_c_on_any_rank_interrupts_all_at_the_same_step() -> None:
    processes = ranked.start(2, *TRAIN, "--epochs", 60, "--json")
    begun("runs")
    os.kill(processes[1].pid, signal.SIGINT)
    first, second = ranked.ends(processes)
    assert (first.code, second.err) == (1, "")
    record = json.loads(first.out)
    assert record["status"] == "interrupted"
