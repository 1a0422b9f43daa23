"""Damage to any file of a run folder, and what `misread verify` says about it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import misread
from misread import ImageSet
from misread.data.image_hash import image_hashes
from misread.data.label_patch import add_fixes
from misread.errors import RunError
from misread.runs.checksums import CHECKSUMS, verify
from samples import Result, blocks

NAMES = ("up", "left", "right", "down")
FIXED = {"run.json", "recipe.toml", "history.csv", "model.safetensors", "predictions-test.npz", "misreads-test.csv",
         "splits.npz", "labels.jsonl", CHECKSUMS}  # fmt: skip
MAY_CHANGE = {"README.md", "figures/history.png", "figures/misreads.png"}
KEPT = {"checkpoints/start.json"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of file."""
    folder = tmp_path_factory.mktemp("verify")
    data = ImageSet.from_arrays(*blocks(80), test=blocks(40, seed=1), class_names=NAMES, name="signs")
    add_fixes(folder / "fixes.jsonl", data, {image_hashes(data.train.images)[4]: "left"})
    settings = {"layers": [{"type": "Flatten"}, {"type": "Dense", "units": "classes"}], "validation.name": "carve"}
    return misread.train(
        data, "tutorial-mlp", settings=settings, epochs=1, label_patch=folder / "fixes.jsonl", out=folder / "runs",
        keep_checkpoints=True, progress=False,
    ).folder  # fmt: skip


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def damaged(path: Path) -> Iterator[str]:
    """Damages a file in one way after another; what was done. The file has its old contents in the end."""
    before = path.read_bytes()
    for place in sorted({0, 1, len(before) // 3, len(before) // 2, len(before) - 2, len(before) - 1}):
        for bit in (1, 32, 128):
            path.write_bytes(before[:place] + bytes([before[place] ^ bit]) + before[place + 1 :])
            yield f"bit {bit} of byte {place} of {path}"
    for length in (0, 1, len(before) // 2, len(before) - 1):
        path.write_bytes(before[:length])
        yield f"{path} cut to {length} bytes"
    path.write_bytes(before + b"\0")
    yield f"a byte added to {path}"
    path.write_bytes(before)


def test_a_run_as_written_is_intact(run: Path, cli: Callable[..., Result]) -> None:
    assert names(run) >= FIXED | MAY_CHANGE | KEPT
    result = cli("verify", run)
    assert (result.code, result.out) == (0, f"{run}: {len(names(run)) - 1} files compared, 0 damaged or missing.\n")


def test_damage_to_every_file_is_noticed(run: Path) -> None:
    for name in sorted(names(run)):
        for what in damaged(run / name):
            found = verify(run)
            if name in MAY_CHANGE:
                assert found.intact, what
                assert found.notes[0].startswith(f"{name} has "), what
            else:
                (problem,) = found.problems
                assert problem.startswith(f"{name} "), what
        assert verify(run).intact
        assert not verify(run).notes


def test_a_missing_file_is_noticed_unless_it_may_go(run: Path, cli: Callable[..., Result]) -> None:
    for name in sorted(names(run) - {CHECKSUMS}):
        (run / name).rename(run.parent / "away")
        found = verify(run)
        assert found.problems == ((f"{name} is missing.",) if name in FIXED else ())
        assert len(found.notes) == (name in MAY_CHANGE)
        (run.parent / "away").rename(run / name)
    shutil.rmtree(run / "checkpoints")
    assert verify(run).intact


def test_the_command_names_what_is_damaged_and_fails(run: Path, cli: Callable[..., Result]) -> None:
    (run / "model.safetensors").write_bytes(b"")
    (run / "README.md").write_text("mine")
    result = cli("verify", run)
    assert result.code == 1
    note, damage, total = result.out.splitlines()
    assert note.startswith("Note: README.md has 4 bytes instead of ")
    assert damage.startswith("Damaged: model.safetensors has 0 bytes instead of ")
    assert total.endswith(" files compared, 1 damaged or missing.")
    found = json.loads(cli("verify", run, "--json").out)
    assert (found["intact"], len(found["problems"]), len(found["notes"])) == (False, 1, 1)


def test_files_that_are_added_later_change_nothing(run: Path) -> None:
    for name in ("notes.json", "report.html", "export/model.onnx"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("new")
    assert verify(run).intact
    assert not verify(run).notes


def test_a_run_without_checksums_is_said_to_be_older(run: Path, cli: Callable[..., Result]) -> None:
    (run / CHECKSUMS).unlink()
    result = cli("verify", run)
    assert result.code == 2
    assert "has no checksums.json: an older misread wrote it" in result.err
    with pytest.raises(RunError, match="There is no run folder"):
        verify(run.with_name("none"))


def test_an_interrupted_run_that_was_resumed_is_intact(block_set: ImageSet, tmp_path: Path) -> None:
    class Stop(misread.Callback):
        def on_epoch_end(self, event: object) -> None:
            event.state.stop("interrupted")  # type: ignore[attr-defined]

    run = misread.train(block_set, epochs=2, out=tmp_path, callbacks=[Stop()], progress=False)
    assert run.record.status == "interrupted"
    assert verify(run.folder).intact
    (checkpoint,) = (run.folder / "checkpoints").glob("member-*")
    contents = bytearray(checkpoint.read_bytes())
    contents[len(contents) // 2] ^= 1
    checkpoint.write_bytes(contents)
    assert verify(run.folder).problems[0].startswith("checkpoints/member-")
    contents[len(contents) // 2] ^= 1
    checkpoint.write_bytes(contents)
    assert verify(misread.resume(run.folder, data=block_set, progress=False).folder).intact
