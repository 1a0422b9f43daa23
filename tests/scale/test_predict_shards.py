"""Jobs: the same predictions whoever computes them and however often they are interrupted."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread.engine.library import load_library
from misread.errors import RunError
from misread.workers import TaskDone, TaskFailed, run_tasks
from samples import Result
from shard_jobs import BROKEN, IMAGES, contents, expected_of, rows_of, start_no_process, write_tar

Pictures = list[tuple[str, bytes, int]]


def test_predictions_are_those_of_each_picture_alone(
    predict: Callable[..., Any], run: misread.Run, tars: str, pictures: Pictures, tmp_path: Path
) -> None:
    state, out = predict(tars, probabilities=True)
    assert (state.images, state.errors, state.done_shards, state.complete) == (IMAGES, 1, 4, True)
    rows, names = rows_of(out), run.record.data.class_names
    assert [row["key"] for row in rows] == [key for key, _, _ in pictures]
    assert [row["row"] for row in rows] == [i % 15 for i in range(IMAGES)]
    assert {row["shard"] for row in rows} == {f"0000{i}-0{i}" for i in range(4)}
    assert [row["label"] for row in rows] == [names[label] for _, _, label in pictures]
    for row, probs in zip(rows, expected_of(run, tmp_path, pictures), strict=True):
        if probs is None:
            assert row["error"] == f"000{BROKEN}.png is not a readable image."
            assert [row[k] for k in ("prediction", "confidence", "margin", "probabilities")] == [None] * 4
        else:
            assert row["error"] is None
            assert row["prediction"] == names[probs.argmax()]
            second, first = np.sort(probs)[-2:]
            assert row["confidence"] == pytest.approx(first, abs=1e-6)
            assert row["margin"] == pytest.approx(first - second, abs=1e-6)
            assert row["probabilities"] == pytest.approx(probs, abs=1e-6)


def test_success_has_the_counts_and_the_hashes_of_the_files(predict: Callable[..., Any], tars: str) -> None:
    _, out = predict(tars)
    success = json.loads((out / "_SUCCESS").read_text())
    assert (success["shards"], success["images"], success["errors"]) == (4, IMAGES, 1)
    listed = "".join(f"{about['sha256']}  {name}\n" for name, about in success["outputs"].items())
    subprocess.run(["sha256sum", "--check", "--quiet"], input=listed, cwd=out, text=True, check=True)


def test_parts_in_any_order_make_the_same_files(predict: Callable[..., Any], tars: str) -> None:
    state, whole = predict(tars, out="whole")
    for number in (2, 0, 1):
        state, parts = predict(tars, out="parts", part=slice(number, None, 3))
        assert (parts / "_SUCCESS").exists() == state.complete == (number == 1)
    assert contents(parts) == contents(whole)


def test_workers_make_the_same_files_also_if_one_is_killed(predict: Callable[..., Any], tars: str) -> None:
    _, whole = predict(tars, out="whole")
    killed = []

    def kill_one(function: Callable[..., Any], tasks: Any, *need: Any) -> Any:
        for event in run_tasks(function, tasks, 2):
            if not killed:
                victim = multiprocessing.active_children()[0]
                killed.append(victim.pid)
                victim.kill()
            yield event

    state, out = predict(tars, out="workers", workers=kill_one)
    assert killed
    assert state.complete
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("alone", [False, True])  # its workers die with it, or do their shards to the end
def test_a_killed_command_is_continued_by_the_same_command(
    predict: Callable[..., Any], cli: Callable[..., Result], run: misread.Run, tars: str, tmp_path: Path, alone: bool
) -> None:
    _, whole = predict(tars, out="whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "misread", "predict", run.folder, tars, "--out", out, "--workers", "1"]
    process = subprocess.Popen(command, start_new_session=True)
    while not list(out.glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.002)
    if alone:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if (out / "_SUCCESS").exists():
        pytest.skip("it was done before it was killed")
    first = {path: path.stat().st_mtime_ns for path in out.glob("0*.parquet")}
    done = cli("predict", run.folder, tars, "--out", out, "--workers", 1, "--json")
    assert done.code == 0
    assert json.loads(done.out)["images"] == IMAGES
    assert {path: path.stat().st_mtime_ns for path in first} == first  # what was done is not done again
    assert contents(out) == contents(whole)


def test_the_same_command_again_computes_nothing(predict: Callable[..., Any], tars: str) -> None:
    predict(tars)

    def none(function: Callable[..., Any], tasks: Any, *need: Any) -> Any:
        assert not tasks
        yield from ()

    state, _ = predict(tars, workers=none)
    assert (state.images, state.new_images, state.complete) == (IMAGES, 0, True)


def test_a_truncated_output_is_written_again(predict: Callable[..., Any], tars: str) -> None:
    _, out = predict(tars)
    before = contents(out)
    damaged = out / "00001-01.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    predict(tars)
    assert contents(out) == before


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_a_flipped_byte_in_a_complete_job_is_noticed_and_written_again(
    predict: Callable[..., Any], tars: str, cli: Callable[..., Result], place: float
) -> None:
    _, out = predict(tars)
    before = contents(out)
    assert cli("verify", out).out == f"{out}: 5 files compared, 0 damaged or missing.\n"
    file = out / "00001-01.parquet"
    damaged = bytearray(before[file.name])
    damaged[int(place * len(damaged))] ^= 1
    file.write_bytes(damaged)
    found = cli("verify", out)
    assert found.code == 1
    assert "Damaged: 00001-01.parquet has other contents than those that were written" in found.out
    predict(tars)
    assert contents(out) == before


def test_damage_to_what_a_job_says_of_itself_is_noticed(
    predict: Callable[..., Any], tars: str, cli: Callable[..., Result]
) -> None:
    _, out = predict(tars)
    for name, old, new in (("_SUCCESS", '"errors": 1', '"errors": 0'), ("job.json", '"start": 0', '"start": 8')):
        before = (out / name).read_text()
        (out / name).write_text(before.replace(old, new, 1))
        found = cli("verify", out)
        assert found.code, name
        assert f"{name} is " in found.out + found.err
        (out / name).write_text(before)
    (out / "_SUCCESS").unlink()
    assert "has no complete job" in cli("verify", out).err


def test_a_shard_that_fails_is_listed_and_the_others_are_done(
    predict: Callable[..., Any], tars: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.tar"
    write_tar(damaged, [("0.png", b"x" * 5000)])
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:3000])
    state, out = predict(tars, str(damaged))
    assert list(state.failed) == ["00004-damaged"]
    assert (state.done_shards, state.complete) == (4, False)
    line = json.loads((out / "_failed.jsonl").read_text())
    assert (line["shard"], line["path"]) == ("00004-damaged", str(damaged))
    assert "damaged.tar is damaged: " in line["error"]
    assert not (out / "_SUCCESS").exists()
    assert not (out / "00004-damaged.parquet").exists()


def test_a_full_disk_is_reported_with_the_name_of_the_file(
    predict: Callable[..., Any], tars: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("misread.scale.predict_shard.replacing", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*00000-00.parquet'"):
        predict(tars)


def test_a_shard_that_was_mended_leaves_the_list(predict: Callable[..., Any], tars: str) -> None:
    def fails(function: Callable[..., Any], tasks: Any, *need: Any) -> Any:
        yield TaskDone(0, 0, None, TaskFailed("it died"), 3, 0.0)

    state, out = predict(tars, workers=fails)
    assert state.failed == {"00000-00": "it died"}
    assert (out / "_failed.jsonl").exists()
    state, out = predict(tars)
    assert state.complete
    assert not (out / "_failed.jsonl").exists()


def test_a_shard_that_has_changed_since_the_job_began_fails(
    predict: Callable[..., Any], pictures: Pictures, tmp_path: Path
) -> None:
    tar = tmp_path / "a.tar"
    write_tar(tar, [("0.png", pictures[0][1])])
    _, out = predict(str(tar))
    (out / "00000-a.parquet").unlink()
    (out / "_SUCCESS").unlink()
    flipped = bytearray(tar.read_bytes())
    flipped[600] ^= 1
    tar.write_bytes(flipped)
    state, _ = predict(str(tar))
    assert "a.tar has changed since the job was begun" in state.failed["00000-a"]


@pytest.mark.parametrize("what", ["weights", "shards", "probabilities", "versions"])
def test_another_job_in_the_same_folder_is_refused(predict: Callable[..., Any], tars: str, what: str) -> None:
    _, out = predict(tars)
    given, options = [tars], {}
    if what == "shards":
        given = [tars.replace("03", "02")]
    elif what == "probabilities":
        options["probabilities"] = True
    else:
        about = json.loads((out / "job.json").read_text())
        if what == "weights":
            about["weights_sha256"] = "0" * 64
        else:
            about["versions"]["torch"] = "0.1"
        (out / "job.json").write_text(json.dumps(about))
    with pytest.raises(RunError) as caught:
        predict(*given, **options)
    expected = {
        "weights": 'weights_sha256: "000', "shards": "shards: 4 there, 3 here",
        "probabilities": "probabilities: false there, true here", "versions": 'versions.torch: "0.1" there',
    }  # fmt: skip
    assert f"{out} has another job. It differs in\n  {expected[what]}" in str(caught.value)


def test_predictions_of_another_job_are_never_taken_for_ones_own(predict: Callable[..., Any], tars: str) -> None:
    _, other = predict(tars, out="other", probabilities=True)
    _, out = predict(tars)
    (out / "00002-02.parquet").write_bytes((other / "00002-02.parquet").read_bytes())
    with pytest.raises(RunError, match="00002-02.parquet was written by another job"):
        predict(tars)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', "\xff"])
def test_a_damaged_job_file_is_refused(predict: Callable[..., Any], tars: str, text: str) -> None:
    _, out = predict(tars)
    (out / "job.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"job\.json is damaged\. Remove the folder"):
        predict(tars)


def test_the_command_line_reports_counts_and_ends_with_1_if_a_shard_failed(
    cli: Callable[..., Result], run: misread.Run, tars: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_no_process(monkeypatch)
    out = tmp_path / "out"
    planned = cli("predict", run.folder, tars, "--out", out, "--plan")
    assert planned.out.startswith(f"Job: {out}, 4 shards, ")
    assert [path.name for path in out.iterdir()] == ["job.json"]
    first = cli("predict", run.folder, tars, "--out", out, "--part", "0/2")
    assert (first.code, first.err) == (0, "This is part 0/2 (from --part).\n")
    assert first.out == f"Predictions: {out}, 2 of 2 shards, 30 images, 1 that could not be read\n"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    second = cli("predict", run.folder, tars, "--out", out)
    assert second.err == "This is part 1/2 (from RANK and WORLD_SIZE).\n"
    assert second.out.endswith("The job is complete: all 4 shards are done.\n")
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(b"x" * 1000)
    failed = cli("predict", run.folder, damaged, "--out", tmp_path / "other", "--part", "0/1")
    assert failed.code == 1
    assert "Error: the shard 00000-damaged failed: " in failed.err


@pytest.mark.parametrize("kernels", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_program_imports_neither_pytorch_nor_pandas(
    run: misread.Run, averaged: Path, tars: str, tmp_path: Path, kernels: bool
) -> None:
    """Also if the workers need PyTorch."""
    code = (
        "import sys; from misread.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'matplotlib', 'rich', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    given = ["predict", run.folder if kernels else averaged, tars, "--out", tmp_path / "out", "--workers", "1"]
    command = [sys.executable, "-c", code, *given, "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == ["The job is complete: all 4 shards are done.", "[]"]
    about = json.loads((tmp_path / "out" / "job.json").read_text())
    assert ("torch" in about["versions"]) == (not kernels or load_library() is None)


@pytest.mark.parametrize("kernels", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_shard_is_predicted_without_pandas(
    run: misread.Run, averaged: Path, tars: str, tmp_path: Path, kernels: bool
) -> None:
    code = (
        "import sys; from misread.scale.predictor import Predictor; from misread.scale.predict_shard import *\n"
        "from misread.scale.shards import *\n"
        "with hashing(find_shards([sys.argv[2]])) as shards: shard = next(shards)\n"
        "task = ShardTask(Predictor(sys.argv[1]), shard, Path(sys.argv[3]), 'job', True)\n"
        "print(predict_shard(task, print), sorted({'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    given = [run.folder if kernels else averaged, tars, tmp_path / "a.parquet"]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "ShardResult(images=15, errors=1) []"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.png", "--workers", "2"], "--workers: only with --out"),
        (["x.png", "--ray", "auto"], "--ray: only with --out"),
        (["x.png", "--probabilities", "--plan"], "--probabilities, --plan: only with --out"),
        (["x.tar", "--out", "o", "--csv", "c"], "--csv and --out cannot be combined"),
        (["x.tar", "--out", "o", "--ray", "auto", "--part", "0/1"], "--ray shares the shards out itself"),
        (["x.tar", "--out", "o", "--workers", "0"], "0 workers are not possible"),
        (["x.tar", "--out", "o"], "x.tar does not exist."),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_a_process_starts(
    cli: Callable[..., Result], run: misread.Run, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("misread.cli.predict_shards.warm_up", lambda *modules: pytest.fail("processes are started"))
    monkeypatch.setitem(sys.modules, "ray", object())
    done = cli("predict", run.folder, *arguments)
    assert done.code == 2
    assert message in done.err
