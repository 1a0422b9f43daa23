"""Decoding many files: in order, on processes or threads, and what becomes of those that break."""

import io
import os
import re
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data import decode, load_progress
from misread.data.decode import OtherSize
from misread.data.load_progress import CountProgress
from misread.data.picture import read_picture
from misread.data.picture_files import scan_pictures
from misread.errors import DataError, MisreadError


def save(path: Path, value: int, side: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), value, np.uint8)).save(path)
    return path


@pytest.fixture(params=[1, 10**9], ids=["processes", "threads"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PROCESSES_FROM", request.param)
    monkeypatch.setattr(decode, "BATCH_FILES", 3)


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_files_are_decoded_in_order_and_unreadable_ones_are_reported_by_position(tmp_path: Path, count: int) -> None:
    paths = [save(tmp_path / f"{i}.png", i) for i in range(count)]
    for path in paths[::7]:
        path.write_bytes(b"broken")
    outcomes, values = [], []
    for batch in decode.decode([str(p) for p in paths], partial(decode.of_size, height=4, width=4), 16):
        outcomes += batch.outcomes
        values += [] if batch.pixels is None else batch.pixels[:, 0, 0, 0].tolist()
    assert values == [i for i in range(count) if i % 7]
    broken = {i: f"{paths[i]} is not a readable image." for i in range(0, count, 7)}
    assert outcomes == [broken.get(i) for i in range(count)]


@pytest.mark.usefixtures("workers")
def test_an_error_names_the_first_file_of_another_size(tmp_path: Path) -> None:
    for i in range(30):
        save(tmp_path / "ab"[i % 2] / f"{i:02}.png", i, side=5 if i > 11 else 4)
    with pytest.raises(DataError, match=r"a/00.png is 4x4, a/12.png is 5x5 .*\n.*--size 4x4"):
        misread.load(tmp_path)


def leave(pixels: np.ndarray) -> np.ndarray:
    os._exit(3)


def test_a_crashed_decoding_process_is_reported_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PROCESSES_FROM", 1)
    paths = [str(save(tmp_path / f"{i}.png", i)) for i in range(9)]
    message = rf"\(exit code 3\), while it read the 9 files from\n{paths[0]} to\n{paths[8]}.\n.*Move these files away"
    with pytest.raises(MisreadError, match=message), closing(decode.decode(paths, leave, 16)) as batches:
        list(batches)


def test_threads_decode_if_no_process_can_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PROCESSES_FROM", 1)
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    paths = [str(save(tmp_path / f"{i}.png", i)) for i in range(9)]
    (batch,) = decode.decode(paths, partial(decode.of_size, height=4, width=4), 16)
    assert batch.pixels is not None
    assert batch.pixels[:, 0, 0, 0].tolist() == list(range(9))


def test_other_sizes_are_refused_and_the_error_has_the_size() -> None:
    with pytest.raises(OtherSize) as refused:
        decode.of_size(np.zeros((3, 5, 1), np.uint8), 3, 4)
    assert refused.value.size == (3, 5)


# special files, links, and what Pillow makes of broken pictures


def test_pipes_and_circular_links_are_skipped(tmp_path: Path) -> None:
    for k, name in enumerate(("cat", "dog")):
        for i in range(3):
            save(tmp_path / name / f"{i}.png", 10 * k + i)
        (tmp_path / name / "back").symlink_to("..")
        (tmp_path / name / "me.png").symlink_to("me.png")
        (tmp_path / name / "nowhere.png").symlink_to("gone.png")
        os.mkfifo(tmp_path / name / "pipe.png")
    save(tmp_path / "elsewhere.png", 7)
    (tmp_path / "dog" / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    data = misread.load(tmp_path)
    assert [f for f in data.split("all").files or () if "dog" in f] == [
        "dog/0.png", "dog/1.png", "dog/2.png", "dog/linked.png"
    ]  # fmt: skip
    assert len(data.split("all")) == 7
    assert data.skipped == ()


@pytest.mark.parametrize("name", ["x.png", "images.npy", "train-images-idx3-ubyte", "metadata.csv", "labels.jsonl"])
def test_a_pipe_never_blocks(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a pipe or a device, not an image file"):
        read_picture(tmp_path / name)
    with pytest.raises(DataError, match="has no class folders"):
        misread.load(tmp_path)
    with pytest.raises(DataError, match="is not a data set"):
        misread.load(tmp_path / name)


def test_files_are_in_path_order(tmp_path: Path) -> None:
    """As `sorted` orders `Path`s, folder by folder: `a-b` comes after `a/z`, though `-` comes before `/`."""
    names = ["a/z.png", "a-b.png", "a/é/1.png", "a/é.png", "Z.PNG", "b.JPEG", "b/.hidden.png", ".h/x.png", "b/t.txt"]
    for name in names:
        save(tmp_path / f"{name}.bmp", 1).rename(tmp_path / name)
    expected = sorted(p for p in tmp_path.rglob("*") if p.is_file() and "/." not in str(p) and p.suffix != ".txt")
    assert [tmp_path / f.name for f in scan_pictures(tmp_path)] == expected
    assert len(expected) == 6


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
def test_errors_for_damaged_bytes_name_the_file(tmp_path: Path, kind: str) -> None:
    """Decoders raise errors of many kinds; to us all say that this file is damaged, or give some picture."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(buffer, kind)
    whole = buffer.getvalue()
    path = tmp_path / "x.img"
    messages = []
    for _ in range(300):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for position in rng.integers(0, min(len(data), 120), rng.integers(1, 6)):
            data[position] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            assert read_picture(path).dtype == np.uint8
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 20
    assert all(re.match(rf"{path} is (damaged|not a readable image|too large)", message) for message in messages)


# progress


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUIET_SECONDS", "LINE_SECONDS", "BAR_SECONDS"):
        monkeypatch.setattr(load_progress, name, 0.0)


@pytest.mark.usefixtures("at_once")
def test_progress_is_lines_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "BATCH_FILES", 4)
    for i in range(8):
        save(tmp_path / "set" / "ab"[i % 2] / f"{i}.png", i)
    expected = ["set: decoding: 4 of 8 pictures", "set: decoding: 8 of 8 pictures"]
    lines: list[str] = []
    misread.load(tmp_path / "set", progress=lines.append)
    assert lines == expected
    assert capsys.readouterr() == ("", "")
    misread.load(tmp_path / "set")
    again = " again (files had just been changed)"
    assert capsys.readouterr() == ("", "".join(f"{x}\n".replace("decoding", f"decoding{again}") for x in expected))
    misread.load(tmp_path / "set", progress=None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("at_once")
def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    lines: list[str] = []
    with CountProgress("[red]: reading", 2000, lines.append) as progress:
        for done in (1, 1000, 2000):
            progress.show(done)
    assert lines == []
    assert "[red]: reading" in terminal.getvalue()
    assert "1,000/2,000" in terminal.getvalue()


def test_quick_work_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with CountProgress("x", 2, load_progress.to_stderr) as progress:
        progress.show(2)
    assert capsys.readouterr() == ("", "")
