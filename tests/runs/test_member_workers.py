"""The members of an ensemble, trained by several processes: the same bits, also after kills, Ctrl-C and resuming."""

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import misread
from misread import ImageSet
from misread.data.image_hash import image_hashes
from misread.data.label_patch import add_fixes
from misread.errors import RecipeError, TrainingError
from misread.runs import member_workers
from misread.runs.progress import Progress, result_lines
from misread.runs.run_folder import find_unfinished
from misread.runs.run_report import _facts
from misread.training.session import INTERRUPTED
from misread.training.worker_progress import TrainingProgress
from misread.workers import TaskFailed
from samples import blocks

SMALL = [
    'layers=[{type="Flatten"}, {type="Dense", units=16, activation="relu"}, {type="Dropout", rate=0.2}, '
    '{type="Dense", units="classes"}]',
    "name=small",
    "batch_size=32",
    "weight_averaging.last=0.5",
]


def ensemble(data: ImageSet, *more: str, **settings: Any) -> misread.Run:
    given = {"epochs": 300, "out": "runs", "progress": False, "threads": 1, **settings}
    return misread.train(data, "tutorial-mlp", settings=[*SMALL, "members=3", *more], **given)


def contents(run: misread.Run) -> dict[str, Any]:
    """What has to be the same bit for bit."""
    rows = [line.rsplit(",", 1)[0] for line in (run.folder / "history.csv").read_text().splitlines()]  # without seconds
    names = ("model.safetensors", "predictions-test.npz", "misreads-test.csv", "recipe.toml")
    return {"history": rows, **{name: (run.folder / name).read_bytes() for name in names}}


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")


@pytest.fixture(scope="module")
def one(data: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    """The same training, member after member in this process."""
    return ensemble(data, out=tmp_path_factory.mktemp("one"))


def begun(out: Path) -> list[Path]:
    """The checkpoints of members so far."""
    return list(out.glob("*.partial/checkpoints/member-*/member-*.safetensors"))


class Kill(Progress):
    """Kills every process when a member has a checkpoint, `times` times."""

    def __init__(self, out: Path, times: int) -> None:
        self.out, self.left, self.killed = out, times, list[int]()
        self.ended: list[tuple[int, int, int]] = []

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        assert now.epochs == 300
        children = multiprocessing.active_children()
        fresh = not {child.pid for child in children} & set(self.killed)
        if self.left and fresh and begun(self.out):
            self.left -= 1
            for child in children:
                child.kill()
                self.killed.append(child.pid or 0)

    def on_member_end(self, member: int, members: int, state: Any) -> None:
        self.ended.append((member, members, len(state.history)))


def test_members_of_killed_processes_are_continued_to_the_bits_of_one_process(data: ImageSet, one: misread.Run) -> None:
    listener = Kill(Path("runs"), times=1)
    two = ensemble(data, workers=2, progress=listener)
    assert len(listener.killed) == 2
    assert sorted(listener.ended) == [(0, 3, 300), (1, 3, 300), (2, 3, 300)]
    assert contents(two) == contents(one)
    assert two.metrics == one.metrics
    record = two.record
    assert (record.environment.threads, record.environment.workers) == (1, 2)
    assert 1 <= len(record.interruptions) <= 2
    assert all(i.exact for i in record.interruptions)
    assert any(i.epoch for i in record.interruptions)  # not from the beginning
    assert record.timing.fit_seconds >= two.history["seconds"].sum() > 0
    assert any("1 thread for each of 2 workers, whose times are added up" in line for line in result_lines(two))
    assert "2 workers, whose times are added up" in (two.folder / "README.md").read_text()
    facts = dict(_facts(two))
    assert facts["Machine"].endswith("2 workers with 1 thread each")
    assert "added up over the workers" in facts["Time"]
    assert not (two.folder / "checkpoints").exists()
    assert multiprocessing.active_children() == []


class PressCtrlC(Progress):
    """Interrupts when the first member is complete, while another process trains the next."""

    def on_member_end(self, member: int, members: int, state: Any) -> None:
        raise KeyboardInterrupt  # as Python does in this process


def test_after_ctrl_c_the_training_goes_on_with_all_members_where_they_were(
    data: ImageSet, one: misread.Run, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        ensemble(data, workers=2, progress=PressCtrlC())
    assert multiprocessing.active_children() == []
    (partial,) = find_unfinished(Path("runs"))
    alone = Path(shutil.copytree(partial, tmp_path / partial.name))
    resumed = misread.resume(partial, data=data, progress=False)  # with two workers, as before
    in_turn = misread.resume(alone, data=data, workers=1, progress=False)
    for run, workers in ((resumed, 2), (in_turn, 1)):
        assert contents(run) == contents(one)
        assert run.record.status == "complete"
        assert run.record.environment.workers == workers
        (interruption,) = run.record.interruptions
        assert interruption.exact
        seconds = run.history["seconds"]
        assert run.record.timing.fit_seconds >= seconds.sum() * 0.99
        assert (seconds > 0).all()


class StopAfter(misread.Callback):
    """Interrupts in this epoch, counted across the members, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, event: Any) -> None:
        if event.row["epoch"] >= self.epoch:
            event.state.stop(INTERRUPTED)


@pytest.mark.slow
def test_workers_go_on_with_a_training_that_one_process_began_and_the_reverse(data: ImageSet, one: misread.Run) -> None:
    serial = ensemble(data, callbacks=[StopAfter(590)])
    assert json.loads((serial.folder / "run.json").read_text())["epochs_trained"] == 300  # of the complete member
    assert len(load_file(serial.folder / "model.safetensors")) == 4
    with pytest.raises(KeyboardInterrupt):
        misread.resume(serial.folder, data=data, workers=2, progress=PressCtrlC())
    (partial,) = find_unfinished(Path("runs"))
    stopped = misread.resume(partial, data=data, callbacks=[StopAfter(0)], progress=False)  # one worker
    assert stopped.record.status == "interrupted"
    done = misread.resume(stopped.folder, data=data, workers=2, progress=False)
    assert contents(done) == contents(one)
    assert len(done.record.interruptions) == 3
    positions = [(i.member, i.epoch, i.step) for i in done.record.interruptions]
    assert positions == sorted(positions)
    assert positions[0] == (1, 290, 0)


@pytest.mark.slow
def test_networks_of_pytorch_on_fixed_labels_are_the_same_too(data: ImageSet, tmp_path: Path) -> None:
    add_fixes(tmp_path / "fixes.jsonl", data, {image_hashes(data.train.images)[0]: "1"})
    common: dict[str, Any] = {"epochs": 3, "threads": 2, "label_patch": tmp_path / "fixes.jsonl"}
    first, second = (ensemble(data, "optimizer.name=sgd", workers=workers, **common) for workers in (1, 2))
    assert second.record.engine.name == "torch"
    assert second.record.label_patch == first.record.label_patch
    assert contents(second) == contents(first)
    assert second.metrics == first.metrics


@pytest.mark.slow
def test_an_error_in_a_member_ends_all_and_leaves_no_folder(data: ImageSet) -> None:
    with pytest.raises(TrainingError, match="no longer finite"):
        ensemble(data, "optimizer.name=sgd", "optimizer.learning_rate=1e6", "layers.1.activation=linear", workers=2)
    assert multiprocessing.active_children() == []
    assert list(Path("runs").iterdir()) == []


@pytest.mark.slow
def test_three_deaths_end_the_training_which_can_be_resumed(data: ImageSet, one: misread.Run) -> None:
    with pytest.raises(TaskFailed, match="SIGKILL"):
        ensemble(data, workers=2, progress=Kill(Path("runs"), times=9))
    (partial,) = find_unfinished(Path("runs"))
    assert contents(misread.resume(partial, data=data, progress=False)) == contents(one)


def test_what_several_workers_cannot_share_is_refused(data: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="'small' trains a single network, which 2 workers cannot share"):
        ensemble(data, "members=1", workers=2)
    with pytest.raises(RecipeError, match="Callbacks and trackers are called in this process"):
        ensemble(data, workers=2, callbacks=[misread.Callback()])
    with pytest.raises(RecipeError, match="0 workers train nothing. Use 1 or more"):
        ensemble(data, workers=0)
    assert not Path("runs").exists()
    monkeypatch.setattr(member_workers, "current_ranks", object)
    with pytest.raises(RecipeError, match="Use 1 worker under torchrun, or train without it"):
        ensemble(data, workers=2)
