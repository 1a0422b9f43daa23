"""`misread predict` on folders, into a table, and `misread data cache`."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data import decode, load_progress
from misread.data.download import cache_folder
from samples import Result, blocks, write_idx_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    root = tmp_path_factory.mktemp("shared")
    data = write_idx_folder(root / "blocks", blocks(320), blocks(80, seed=1))
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]']
    return misread.train(data, "tutorial-mlp", epochs=2, settings=settings, out=root / "runs", progress=False)


NAMES = [
    "0.png",
    "1.jpg",
    "=1+2.png",
    "-x.png",
    "@y.png",
    "+z.png",
    "a, b.png",
    '"q".png',
    "고양이/猫 1.png",
    "x/\t.png",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture under each name, one broken, one of another size and colour, and what is no picture."""
    folder = tmp_path / "pictures"
    images, _ = blocks(len(NAMES), seed=2)
    for name, image in zip(NAMES, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(folder / "large.png")
    (folder / "notes.txt").write_text("no picture")
    os.mkfifo(folder / "pipe.png")
    (folder / "circle").symlink_to(".")
    return folder


@pytest.mark.parametrize("processes", [False, True])
def test_a_table_has_a_row_for_each_picture_and_predicts_as_one_by_one(
    cli: Callable[..., Result], run: misread.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    processes: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(decode, "PROCESSES_FROM", 1 if processes else 10**9)
    monkeypatch.setattr(decode, "BATCH_FILES", 5)
    table = tmp_path / "table.csv"
    done = cli("predict", run.folder, folder, "--csv", table)
    assert (done.code, done.out) == (1, f"Table: {table}, 12 pictures, 1 that could not be read\n")
    with table.open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert set(rows) == {str(folder / name) for name in [*NAMES, "broken.png", "large.png"]}
    broken = rows.pop(str(folder / "broken.png"))
    assert broken["error"] == f"{folder}/broken.png is not a readable image."
    assert {broken[k] for k in broken if k not in ("file", "error")} == {""}
    for file, row in rows.items():
        expected = run.predict_file(file)[:3]
        assert [row["label"], row["label_2"], row["label_3"]] == [name for name, _ in expected]
        found = [float(row[k]) for k in ("probability", "probability_2", "probability_3")]
        assert found == pytest.approx([p for _, p in expected], abs=2e-6)
        assert row["error"] == ""


def test_no_cell_is_a_formula(
    cli: Callable[..., Result], run: misread.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that begin as formulas do, given without a folder before them."""
    monkeypatch.chdir(folder)
    names = [name for name in NAMES if name[0] in "=+@"] + ["@nowhere.png"]
    done = cli("predict", run.folder, "--csv", tmp_path / "t.csv", "--", *names, "-x.png")
    assert done.code == 1
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [f"'{name}" for name in [*names, "-x.png"]]
    assert rows[-2]["error"] == "'@nowhere.png does not exist."
    assert all(cell[:1] not in ("=", "+", "-", "@") for row in rows for cell in row.values())


def test_json_with_a_table_is_a_summary_and_without_one_all_results(
    cli: Callable[..., Result], run: misread.Run, folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    assert json.loads(cli("predict", run.folder, folder, "--csv", table, "--json").out) == {
        "csv": str(table), "pictures": 12, "errors": 1
    }  # fmt: skip
    results = json.loads(cli("predict", run.folder, folder, folder / "0.png", "--json").out)
    assert [r["file"] for r in results][-1] == str(folder / "0.png")
    assert sum("error" in r for r in results) == 1
    assert len(results) == 13
    printed = cli("predict", run.folder, folder)
    assert len(printed.out.splitlines()) == 12
    assert printed.err == f"Error: {folder}/broken.png is not a readable image.\n"


def test_names_that_are_no_utf8_are_written(cli: Callable[..., Result], run: misread.Run, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    Image.fromarray(blocks(1)[0][0, ..., 0]).save(folder / "x.png")
    try:
        os.rename(folder / "x.png", os.fsencode(folder) + b"/\xe9.png")
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    assert cli("predict", run.folder, folder, "--csv", tmp_path / "t.csv").code == 0
    assert f"{folder}/\\udce9.png" in (tmp_path / "t.csv").read_text(encoding="utf-8")


def test_progress_goes_to_stderr_unless_quiet(
    cli: Callable[..., Result], run: misread.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUIET_SECONDS", "LINE_SECONDS"):
        monkeypatch.setattr(load_progress, name, 0.0)
    assert "predicting: 12 of 12 pictures\n" in cli("predict", run.folder, folder, "--csv", tmp_path / "t.csv").err
    assert cli("predict", run.folder, folder, "--csv", tmp_path / "t.csv", "--quiet").err == ""


def test_what_cannot_be_done_is_said(
    cli: Callable[..., Result], run: misread.Run, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = cli("predict", run.folder, tmp_path / "empty")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "empty has no pictures. Name a folder that has some, or the files." in done.err
    done = cli("predict", run.folder, folder, "--csv", tmp_path / "no" / "t.csv")
    assert done.code == 2
    assert "t.csv cannot be written: No such file or directory" in done.err


BOUNDED = """
import resource, sys
from pathlib import Path
from misread.cli.main import main
from misread.runs import predict_files  # what it imports is not counted
from misread.runs.run import open_run

open_run(sys.argv[1]).predict_file(Path(sys.argv[2]) / "0.png")
lines = Path("/proc/self/status").read_text().splitlines()
used = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 100_000_000,) * 2)
main(["predict", sys.argv[1], sys.argv[2], "--csv", sys.argv[3], "--quiet"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_does_not_grow_with_the_pictures(run: misread.Run, tmp_path: Path) -> None:
    """50 pictures of 3 MB each, under a limit that does not hold all of them."""
    folder = tmp_path / "f"
    folder.mkdir()
    Image.new("RGB", (1000, 1000), (9, 9, 9)).save(folder / "0.png")
    for i in range(1, 50):
        os.link(folder / "0.png", folder / f"{i}.png")
    command = [sys.executable, "-c", BOUNDED, str(run.folder), str(folder), str(tmp_path / "t.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == f"Table: {tmp_path}/t.csv, 50 pictures, 0 that could not be read\n", done.stderr


# the cache


def test_the_cache_is_listed_sized_and_cleared(cli: Callable[..., Result], tmp_path: Path) -> None:
    empty = json.loads(cli("data", "cache", "--json").out)
    assert empty == {"cache": str(cache_folder()), "size_bytes": 0, "entries": []}
    for name, count in (("one", 3), ("two", 4)):
        for label in ("cat", "dog"):
            for i in range(count):
                (tmp_path / name / label).mkdir(parents=True, exist_ok=True)
                Image.new("L", (10, 10), i).save(tmp_path / name / label / f"{i}.png")
    for arguments in (("one",), ("one", "--size", "6x5"), ("two",)):
        assert cli("data", "info", tmp_path / arguments[0], *arguments[1:]).code == 0
    (cache_folder() / "mnist").mkdir()
    (cache_folder() / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"x" * 1000)
    listed = json.loads(cli("data", "cache", "--json").out)
    found = {(e["kind"], e["what"], str(e["size"])): e for e in listed["entries"]}
    assert {key: e["images"] for key, e in found.items()} == {
        ("decoded", str(tmp_path / "one"), "None"): 6,
        ("decoded", str(tmp_path / "one"), "[6, 5]"): 6,
        ("decoded", str(tmp_path / "two"), "None"): 8,
        ("downloaded", "mnist", "None"): None,
    }
    pixels = found["decoded", str(tmp_path / "one"), "[6, 5]"]
    record = (Path(pixels["path"]) / "record.json").stat().st_size
    assert pixels["size_bytes"] == 6 * 6 * 5 + record
    assert listed["size_bytes"] == sum(f.stat().st_size for f in cache_folder().rglob("*") if f.is_file())
    text = cli("data", "cache", tmp_path / "two").out
    assert text.splitlines()[1].split() == ["decoded", "0.0", "8", str(tmp_path / "two")]
    (tmp_path / "two").rename(tmp_path / "moved")
    assert f"{tmp_path}/two (no longer there)" in cli("data", "cache").out

    removed = cli("data", "cache", tmp_path / "one", "--clear", "--json")
    assert [e["removed"] for e in json.loads(removed.out)["entries"]] == [True, True]
    left = json.loads(cli("data", "cache", "--json").out)["entries"]
    assert {e["what"] for e in left} == {str(tmp_path / "two"), "mnist"}
    assert "Removed: 0.0 MB" in cli("data", "cache", "--clear").out
    assert [e["what"] for e in json.loads(cli("data", "cache", "--json").out)["entries"]] == ["mnist"]
    assert (cache_folder() / "mnist" / "train-images-idx3-ubyte.gz").is_file()
