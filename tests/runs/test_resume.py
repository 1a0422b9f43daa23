"""Resuming runs: after Ctrl-C, after a kill, after something changed; and repeating them."""

import errno
import json
import multiprocessing
import os
import random
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

import misread
from misread import ImageSet, files
from misread.errors import RunError
from misread.runs import run_folder
from misread.runs.progress import result_lines
from misread.training.checkpoints import find_checkpoints
from misread.training.session import INTERRUPTED
from samples import Result, blocks, write_idx_folder

pytestmark = pytest.mark.usefixtures("without_pictures")

SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dropout", rate=0.2}, '
    '{type="Dense", units="classes"}]',
    "name=small",
    "batch_size=32",
    "validation.name=carve",
]
KILLS = 30  # of trainings of MNIST


class StopAfter(misread.Callback):
    """Interrupts after so many steps, as Ctrl-C does."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_steps(self, event: Any) -> None:
        self.left -= 1
        if self.left == 0:
            event.state.stop(INTERRUPTED)

    on_epoch_end = on_steps


class Breaks(misread.Callback):
    """Raises at the end of an epoch, as a process does that is killed after its checkpoint was written."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_steps(self, event: Any) -> None:
        if event.epoch > self.epoch:
            raise ZeroDivisionError


def small(data: Any, *more: str, epochs: int = 3, **settings: Any) -> misread.Run:
    given = {"out": "runs", "progress": False, "settings": [*SMALL, *more], **settings}
    return misread.train(data, "tutorial-mlp", epochs=epochs, **given)


def contents(folder: Path) -> dict[str, Any]:
    """What has to be the same bit for bit."""
    rows = [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]  # without seconds
    names = ("model.safetensors", "predictions-test.npz", "misreads-test.csv", "recipe.toml", "splits.npz")
    return {"history": rows, **{n: (folder / n).read_bytes() for n in names if (folder / n).is_file()}}


@pytest.fixture(autouse=True)
def _a_step_an_event_and_every_epoch_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("misread.training.budget.TICK_SECONDS", 0.0)
    monkeypatch.setattr("misread.training.checkpoints.TIME_SHARE", float("inf"))


@pytest.mark.parametrize("after", [1, 2, 3, 7, 14])  # a window has two steps, an epoch five windows
def test_a_training_in_windows_resumes_to_the_same_bytes(
    after: int, block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("misread.training.shuffle.MIB", 64 * 64)
    augmented = ("shuffle_window_mib=1", "augmentation.shift=0.2")
    whole = small(block_set, *augmented, epochs=2)
    interrupted = small(block_set, *augmented, epochs=2, callbacks=[StopAfter(after)])
    assert interrupted.record.status == "interrupted"
    resumed = misread.resume(interrupted.folder, data=block_set, progress=False)
    assert contents(resumed.folder) == contents(whole.folder)
    assert tomllib.loads((whole.folder / "recipe.toml").read_text())["shuffle_window_mib"] == 1
    together = small(block_set, "shuffle_window_mib=2", "augmentation.shift=0.2", epochs=2)
    assert contents(together.folder)["history"] != contents(whole.folder)["history"]


@pytest.mark.parametrize("more", [(), ("members=2",), ("early_stopping.patience=1", "optimizer.learning_rate=0.1")])
@pytest.mark.parametrize("after", [1, 9, 10, 14, 25])
def test_an_interrupted_run_resumes_to_the_same_bytes(after: int, more: tuple[str, ...], block_set: ImageSet) -> None:
    whole = small(block_set, *more)
    interrupted = small(block_set, *more, callbacks=[StopAfter(after)])
    if interrupted.record.status == "complete":
        pytest.skip("the training was over before that")
    assert run_folder.is_resumable(interrupted.folder)
    resumed = misread.resume(interrupted.folder, data=block_set, progress=False)
    assert resumed.folder == interrupted.folder
    assert contents(resumed.folder) == contents(whole.folder)
    record = resumed.record
    assert (record.status, record.metrics, record.stopped) == ("complete", whole.record.metrics, whole.record.stopped)
    assert (record.epochs_trained, record.best_epoch) == (whole.record.epochs_trained, whole.record.best_epoch)
    assert [i.exact for i in record.interruptions] == [True]
    assert not (resumed.folder / "checkpoints").exists()
    assert whole.record.interruptions == ()


def test_a_run_may_be_interrupted_several_times_and_records_the_positions(block_set: ImageSet) -> None:
    whole = small(block_set)
    run = small(block_set, callbacks=[StopAfter(4)])
    for _ in range(3):
        run = misread.resume(run.folder, data=block_set, callbacks=[StopAfter(4)], progress=False)
    run = misread.resume(run.folder, data=block_set, progress=False)
    assert contents(run.folder) == contents(whole.folder)
    assert "Interrupted and resumed 4 times; the result is the same as without." in result_lines(run)
    said = json.loads((run.folder / "run.json").read_text())["interruptions"]
    assert [(i["epoch"], i["step"]) for i in said] == [(0, 4), (0, 8), (1, 2), (1, 6)]  # 9 steps an epoch, and its end


def test_a_failed_training_is_listed_and_resumes_from_its_last_epoch(
    idx_folder: Path, cli: Callable[..., Result]
) -> None:
    whole = small(str(idx_folder), epochs=4)
    with pytest.raises(ZeroDivisionError):
        small(str(idx_folder), epochs=4, callbacks=[Breaks(2)])
    (partial,) = run_folder.find_unfinished(Path("runs"))
    assert len(find_checkpoints(partial / "checkpoints")) == 2
    with pytest.raises(RunError, match=r"is unfinished. Continue it: misread train --resume"):
        misread.open_run(partial)
    listed = cli("runs")
    assert "unfinished" in listed.out
    assert "misread train --resume RUN" in listed.out
    assert {"folder": str(partial), "status": "unfinished"} in json.loads(cli("runs", "--json").out)
    done = cli("train", "--resume", "last", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["interruptions"] == [{"member": 0, "epoch": 2, "step": 0, "exact": True, "reason": ""}]
    assert contents(Path(record["folder"])) == contents(whole.folder)
    assert run_folder.find_unfinished(Path("runs")) == []
    assert cli("train", "--resume", "last").code == 2


def test_a_failed_resume_keeps_a_training_without_a_checkpoint(
    block_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ZeroDivisionError):
        small(block_set, callbacks=[Breaks(1)])
    (partial,) = run_folder.find_unfinished(Path("runs"))
    for path in find_checkpoints(partial / "checkpoints"):  # as if it had been killed in its first epoch
        path.unlink()

    def full(state: Any) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("misread.training.checkpoints.state_bytes", full)
        with pytest.raises(RunError, match=r"no space is left. The files .*\nFix this and continue: .* --resume runs/"):
            misread.resume(partial, data=block_set, progress=False)
    resumed = misread.resume(partial, data=block_set, progress=False)
    assert contents(resumed.folder) == contents(small(block_set).folder)


def test_keep_checkpoints_leaves_the_last_two(block_set: ImageSet) -> None:
    run = small(block_set, keep_checkpoints=True)
    assert len(find_checkpoints(run.folder / "checkpoints")) == 2
    with pytest.raises(RunError, match="is complete; there is nothing to resume"):
        misread.resume(run.folder, data=block_set, progress=False)


def test_a_damaged_last_checkpoint_falls_back_to_the_previous_one(block_set: ImageSet) -> None:
    whole = small(block_set)
    run = small(block_set, callbacks=[StopAfter(24)])
    last = find_checkpoints(run.folder / "checkpoints")[-1]
    last.write_bytes(last.read_bytes()[:-7])
    (last.parent / f"{files.PARTIAL}1234-{last.name}").write_bytes(b"half")  # what a killed process leaves behind
    resumed = misread.resume(run.folder, data=block_set, keep_checkpoints=True, progress=False)
    assert contents(resumed.folder) == contents(whole.folder)
    assert resumed.record.interruptions[0].epoch < 3
    assert not list(resumed.folder.rglob(f"{files.PARTIAL}*"))


def test_a_module_from_python_resumes_with_a_module_of_its_class(block_set: ImageSet) -> None:
    def network() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 4))

    whole = small(block_set, network=network())
    run = small(block_set, network=network(), callbacks=[StopAfter(13)])
    with pytest.raises(RunError, match=r"used a module from Python, Sequential. Resume it in Python with a module"):
        misread.resume(run.folder, data=block_set)
    resumed = misread.resume(run.folder, data=block_set, network=network(), progress=False)
    assert contents(resumed.folder) == contents(whole.folder)


def test_a_training_by_seconds_resumes_and_records_that_it_is_not_exact(block_set: ImageSet) -> None:
    run = small(block_set, seconds=0.4, callbacks=[StopAfter(5)])
    resumed = misread.resume(run.folder, data=block_set, progress=False)
    (interruption,) = resumed.record.interruptions
    assert (interruption.exact, interruption.reason) == (False, "a training by seconds depends on the clock")
    with pytest.raises(RunError, match="depends on the clock, so the run cannot be reproduced"):
        misread.reproduce(resumed, progress=False)


# what is refused


def test_resuming_from_arrays_needs_the_arrays(block_set: ImageSet) -> None:
    run = small(block_set, callbacks=[StopAfter(5)])
    with pytest.raises(RunError, match=r"used arrays in memory. Resume it in Python with the same arrays"):
        misread.resume(run.folder)


def test_other_data_is_refused_even_with_anyway(block_set: ImageSet) -> None:
    run = small(block_set, callbacks=[StopAfter(5)])
    other = ImageSet.from_arrays(*blocks(320, seed=5), test=blocks(80, seed=1), name="blocks")
    with pytest.raises(RunError, match=r"The data has changed since the training .* began: the fingerprint"):
        misread.resume(run.folder, data=other, anyway=True)
    assert misread.resume(run.folder, data=block_set, progress=False).record.status == "complete"


def test_another_recipe_or_label_patch_is_refused(tmp_path: Path) -> None:
    data = write_idx_folder(tmp_path / "set", blocks(40), blocks(20, seed=1))
    images = misread.load(str(data))
    from misread.data.image_hash import image_hashes
    from misread.data.label_patch import add_fixes

    add_fixes(tmp_path / "fixes.jsonl", images, {image_hashes(images.train.images)[0]: "1"})
    run = small(str(data), label_patch=tmp_path / "fixes.jsonl", callbacks=[StopAfter(2)])
    folder = run.folder
    for name, message in (
        ("recipe.toml", "recipe.toml has changed since the training began"),
        ("labels.jsonl", "labels.jsonl has changed since the training began"),
    ):
        before = (folder / name).read_text()
        (folder / name).write_text(before.replace("32", "16", 1) if name == "recipe.toml" else before + before)
        with pytest.raises(RunError, match=message):
            misread.resume(folder, anyway=True)
        (folder / name).write_text(before)
    assert misread.resume(folder, progress=False).record.status == "complete"


def test_another_thread_count_or_build_is_refused_without_anyway(block_set: ImageSet) -> None:
    run = small(block_set, threads=2, callbacks=[StopAfter(5)])
    with pytest.raises(RunError, match=r"cannot be resumed exactly: threads was 2, now it is 1.\n.*--anyway"):
        misread.resume(run.folder, data=block_set, threads=1)
    folder = run.folder
    assert misread.open_run(folder, data=block_set).record.status == "interrupted"  # nothing was lost by asking
    start = folder / "checkpoints" / "start.json"
    values = files.unsealed(start.read_bytes())
    values["engine"]["build"] = "other"
    start.write_text(files.sealed(values))
    with pytest.raises(RunError, match="the build of the backend was other"):
        misread.resume(folder, data=block_set)
    resumed = misread.resume(folder, data=block_set, anyway=True, progress=False)
    (interruption,) = resumed.record.interruptions
    assert not interruption.exact
    assert "the build of the backend was other" in interruption.reason


def test_a_damaged_start_is_refused(block_set: ImageSet) -> None:
    folder = small(block_set, callbacks=[StopAfter(5)]).folder
    start = folder / "checkpoints" / "start.json"
    start.write_text(start.read_text().replace('"created": "20', '"created": "10'))
    with pytest.raises(RunError, match=r"start.json is damaged, so the training cannot be resumed. Train again"):
        misread.resume(folder, data=block_set)


def test_a_training_that_is_running_is_not_resumed_twice(block_set: ImageSet) -> None:
    caught: list[str] = []

    class ResumesItself(misread.Callback):
        def on_epoch_end(self, event: Any) -> None:
            (partial,) = Path("runs").glob("*.partial")
            assert run_folder.is_running(partial)
            with pytest.raises(RunError) as error:
                misread.resume(partial, data=block_set)
            caught.append(str(error.value))

    run = small(block_set, callbacks=[ResumesItself()], epochs=1)
    assert "is running in another process" in caught[0]
    assert run.record.status == "complete"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--resume", "nothing"), "There is no run folder nothing"),
        (("train", "--resume", "last"), "There is no training in runs/ to resume"),
        (("train", "digits", "--resume", "last", "--epochs", "3"), "Leave out DATA, --epochs"),
        (("train",), "DATA is missing"),
        (("reproduce", "nothing"), "There is no run folder nothing"),
    ],
)
def test_errors_of_resume_say_why(arguments: tuple[str, ...], message: str, cli: Callable[..., Result]) -> None:
    result = cli(*arguments)
    assert result.code == 2
    assert message in result.err


# reproducing


def test_a_run_is_reproduced_bit_for_bit_and_a_changed_one_is_not(idx_folder: Path, cli: Callable[..., Result]) -> None:
    run = small(str(idx_folder))
    result = cli("reproduce", run.folder, "--json", "--quiet")
    said = json.loads(result.out)
    assert (result.code, said["exact"], said["changed_predictions"]) == (0, True, 0)
    assert "the same bit for bit" in cli("reproduce", run.folder, "--quiet").out
    weights = load_file(run.folder / "model.safetensors")
    weights["dense.bias"][3] += 0.25
    from safetensors.numpy import save_file

    save_file(weights, run.folder / "model.safetensors")
    result = cli("reproduce", run.folder, "--quiet")
    assert result.code == 1
    assert "Weights differ by up to 0.25" in result.out
    assert "Machine, build, versions and thread count are the same" in result.out


def test_runs_that_cannot_be_reproduced_are_refused(block_set: ImageSet) -> None:
    interrupted = small(block_set, callbacks=[StopAfter(5)])
    with pytest.raises(RunError, match="is interrupted. Finish it first: misread train --resume"):
        misread.reproduce(interrupted)
    own = small(block_set, network=nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with pytest.raises(RunError, match="trained a module from Python, Sequential"):
        misread.reproduce(own)


# a process that is killed


def live(root: Path, out: str, settings: list[str], ready: Any) -> None:
    """One life of a training: begins it, or continues what is there. root: the folder above the real MNIST."""
    from misread.runs.train import resume, train
    from misread.training import checkpoints

    os.environ["MISREAD_DATA"] = str(root)  # the server of processes may be older than this test
    checkpoints.EVERY_SECONDS, checkpoints.TIME_SHARE = 0.05, float("inf")
    partial = run_folder.find_unfinished(Path(out))
    ready.set()
    if partial:
        resume(partial[0], progress=False)
    else:
        train("mnist", "tutorial-mlp", settings=settings, out=out, threads=2, progress=False)


@pytest.mark.mnist
@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_with_the_same_bytes(mnist_root: Path) -> None:
    """SIGKILL, which no process can catch: in a step, in a checkpoint, in the last files of the run."""
    settings = ["epochs=3", "augmentation.shift=0.05", "weight_averaging.last=0.5", "precision=mixed"]
    reference = contents(misread.train("mnist", "tutorial-mlp", settings=settings, threads=2, progress=False).folder)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["misread.runs.train"])
    out, kills, finished, draws = Path("killed"), 0, 0, random.Random(0)
    out.mkdir()
    while kills < KILLS or not finished:
        ready = context.Event()
        process = context.Process(target=live, args=(mnist_root, str(out), settings, ready))
        process.start()
        ready.wait()
        process.join(draws.uniform(0.0, 2.0) if kills < KILLS else None)
        if process.exitcode is None:
            process.kill()
            kills += 1
        process.join()
        assert process.exitcode in (0, -9)
        for folder in run_folder.find_runs(out):  # whatever has its name is whole
            assert contents(folder) == reference
            run = misread.open_run(folder)
            assert run.record.status == "complete"
            assert all(i.exact for i in run.record.interruptions)
            finished += 1
            shutil.rmtree(folder)
    assert finished >= 1
