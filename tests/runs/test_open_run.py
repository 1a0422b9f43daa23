"""Run folders that are not whole, or not ours."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import misread
from misread import ImageSet
from misread.errors import DataError, RunError
from misread.runs.run_folder import find_runs
from misread.runs.train import train


@pytest.fixture
def folder(block_set: ImageSet) -> Path:
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]']
    return train(block_set, "tutorial-mlp", epochs=1, settings=settings, progress=False).folder


def test_a_folder_that_is_not_there_or_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no run folder .*`misread runs` lists"):
        misread.open_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run folder: it has no run.json"):
        misread.open_run(tmp_path)


def test_a_split_that_a_run_has_not_is_answered_with_those_that_it_has(folder: Path, block_set: ImageSet) -> None:
    run = misread.open_run(folder, data=block_set)  # its recipe shows the test split as validation
    assert len(run.split("val")) == len(run.split("test"))
    with pytest.raises(DataError, match=r"has no split 'vall'; the run in .* has train, val, test\."):
        run.split("vall")


def test_a_run_without_its_last_file_is_incomplete(folder: Path) -> None:
    (folder / "run.json").unlink()
    with pytest.raises(RunError, match=r"is incomplete: it has no run.json, which is written last"):
        misread.open_run(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.toml", "history.csv"])
def test_a_run_with_a_file_missing_names_it(folder: Path, name: str) -> None:
    (folder / name).unlink()
    run = misread.open_run(folder)
    with pytest.raises(RunError, match=f"is incomplete: {name} is missing"):
        {
            "model.safetensors": lambda: run.network,
            "recipe.toml": lambda: run.recipe,
            "history.csv": lambda: run.history,
        }[name]()


def test_a_run_from_a_newer_misread_says_so(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["format"] = 2
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=r"has format 2, but this misread reads up to 1. Install a newer misread"):
        misread.open_run(folder)


def test_keys_that_a_later_version_added_do_no_harm(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    record["more"] = {"x": 1}
    (folder / "run.json").write_text(json.dumps(record))
    assert misread.open_run(folder).record.status == "complete"


@pytest.mark.parametrize(
    ("contents", "message"),
    [("{", "is damaged: Expecting"), ("[]", "is damaged"), ('{"format": 1}', r"is damaged: status: Field required")],
)
def test_a_damaged_record_is_refused(folder: Path, contents: str, message: str) -> None:
    (folder / "run.json").write_text(contents)
    with pytest.raises(RunError, match=message):
        misread.open_run(folder)


def test_weights_that_do_not_fit_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "dense.weight": np.zeros((5, 5), np.float32)}, folder / "model.safetensors")
    with pytest.raises(RunError, match=r"(?s)model.safetensors does not fit the network:.*dense.weight.*\[5, 5\]"):
        misread.open_run(folder).network  # noqa: B018


def test_damaged_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(RunError, match=r"model.safetensors is damaged"):
        misread.open_run(folder).network  # noqa: B018


def test_damaged_texts_are_refused(folder: Path) -> None:
    for contents, message in (
        (b"", "No columns to parse"),
        (b"epoch,loss\xff\n1,2\n", "'utf-8' codec"),
        (b"epoch,loss\n1,2,3\n4\n5,6,7,8\n", "Error tokenizing"),
        (b"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,x,1,1,1,1\n", "it has no numbers for loss"),
    ):
        (folder / "history.csv").write_bytes(contents)
        with pytest.raises(RunError, match=rf"history.csv is damaged: .*{message}"):
            misread.open_run(folder).history  # noqa: B018
    (folder / "recipe.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(RunError, match=r"recipe.toml is damaged: 'utf-8' codec"):
        misread.open_run(folder).recipe  # noqa: B018


def test_hashes_do_not_come_from_a_damaged_table_of_misreads(folder: Path, block_set: ImageSet) -> None:
    expected = misread.open_run(folder, data=block_set).misreads.table["hash"].tolist()
    table = (folder / "misreads-test.csv").read_bytes()
    shifted = table.replace(f",{expected[0]}".encode(), f".{expected[0]}".encode())  # a column is missing in this line
    assert shifted != table
    for contents in (b"", b"\xff\xfe", b"index\nx\n", b"hash\n1\n", shifted):
        (folder / "misreads-test.csv").write_bytes(contents)
        assert misread.open_run(folder, data=block_set).misreads.table["hash"].tolist() == expected


def test_runs_are_listed_oldest_first_and_partial_ones_are_not(folder: Path) -> None:
    (folder.parent / ".partial-x").mkdir()
    (folder.parent / ".partial-x" / "recipe.toml").write_text("")
    (folder.parent / "notes").mkdir()
    older = folder.parent / "20000101-000000-old"
    folder_copy = older
    folder_copy.mkdir()
    (older / "recipe.toml").write_text("")
    assert find_runs(folder.parent) == [older, folder]
