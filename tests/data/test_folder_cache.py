"""The cache of decoded folders: it changes nothing but the time, and what it must not be used for it is not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data import decode, folder_cache, listing
from misread.data.download import cache_folder
from misread.data.image_set import ImageSet
from misread.data.mapped_images import MappedImages
from misread.data.picture import as_channels, read_picture, resize
from misread.errors import DataError

LONG_AGO = 1_500_000_000


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def photos(root: Path, count: int = 12, colour: bool = True, seed: int = 0) -> Path:
    """Class folders of noise, one with a folder inside and names of other scripts; some pictures grey."""
    rng = np.random.default_rng(seed)
    for name in ("고양이", "dog"):
        for i in range(count):
            shape = (6, 4, 3) if colour and i % 3 == 2 else (6, 4)
            save(root / name / ("more" if i % 5 == 4 else "") / f"写真 {i}.png", rng.integers(0, 256, shape, np.uint8))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos")


@pytest.fixture
def undecodable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, decoding any picture fails the test."""

    def forbid() -> None:
        def decoded(*args: object) -> None:
            raise AssertionError("a picture was decoded")

        monkeypatch.setattr(decode, "read_picture", decoded)

    return forbid


def same(one: ImageSet, other: ImageSet) -> None:
    assert one.class_names == other.class_names
    assert one.carved_test == other.carved_test
    assert one.fingerprint == other.fingerprint
    assert one.skipped == other.skipped
    assert list(one.splits) == list(other.splits)
    for name, split in one.splits.items():
        theirs = other.splits[name]
        np.testing.assert_array_equal(np.asarray(split.images), np.asarray(theirs.images))
        np.testing.assert_array_equal(split.labels, theirs.labels)
        np.testing.assert_array_equal(split.rows, theirs.rows)
        assert split.files == theirs.files


def plainly(folder: Path, size: tuple[int, int] | None = None) -> tuple[list[str], np.ndarray]:
    """Names and pixels of all pictures, read one after another: what loading gave before there was a cache."""
    paths = sorted(p for p in folder.rglob("*.png") if "hidden" not in p.name)
    read = []
    for path in paths:
        try:
            read.append((str(path.relative_to(folder)), read_picture(path)))
        except DataError:
            continue
    pictures = [resize(p, *size) if size else p for _, p in read]
    channels = max(p.shape[-1] for p in pictures)
    return [name for name, _ in read], np.stack([as_channels(p, channels) for p in pictures])


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("size", [None, (5, 7)])
@pytest.mark.parametrize("colour", [False, True])
def test_first_and_later_loads_equal_reading_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undecodable: Callable[[], None],
    colour: bool, size: tuple[int, int] | None, in_file: bool, processes: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(decode, "PROCESSES_FROM", 1 if processes else 10**9)
    monkeypatch.setattr(decode, "BATCH_FILES", 5)
    monkeypatch.setattr(listing, "ARRAY_BYTES", 0 if in_file else 10**9)
    folder = photos(tmp_path / "photos", colour=colour)
    (folder / "dog" / "aa broken.png").write_bytes(b"no picture")
    os.utime(folder / "dog" / "aa broken.png", (LONG_AGO, LONG_AGO))
    first = misread.load(folder, size=size)
    undecodable()
    later = misread.load(folder, size=size)
    names, pixels = plainly(folder, size)
    for data in (first, later):
        everything = data.split("all")
        assert isinstance(everything.images, MappedImages) == in_file
        assert everything.files == tuple(names)
        np.testing.assert_array_equal(np.asarray(everything.images), pixels)
        assert [data.class_names[k] for k in everything.labels] == [name.split("/")[0] for name in names]
        assert [line.replace(str(folder), "") for line in data.skipped] == [
            "/dog/aa broken.png is not a readable image."
        ]
    same(first, later)
    with pytest.raises(DataError, match="aa broken.png is not a readable image.\nRepair or remove"):
        misread.load(folder, size=size, strict=True)


def test_splits_in_folders_are_cached_as_well(tmp_path: Path, undecodable: Callable[[], None]) -> None:
    for seed, split in enumerate(("test", "train", "val")):
        photos(tmp_path / split, count=3 + seed, seed=seed)
    first = misread.load(tmp_path)
    undecodable()
    same(first, misread.load(tmp_path))
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 8, "val": 10, "test": 6}


def test_each_size_has_its_own_cache_entry(folder: Path, undecodable: Callable[[], None]) -> None:
    loaded = {size: misread.load(folder, size=size) for size in (None, 3, (8, 5))}
    undecodable()
    for size, data in loaded.items():
        same(data, misread.load(folder, size=size))


def test_different_paths_to_a_folder_share_a_cache_entry(
    folder: Path, undecodable: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "dog" / "broken.png").write_bytes(b"no picture")
    os.utime(folder / "dog" / "broken.png", (LONG_AGO, LONG_AGO))
    first = misread.load(folder)
    undecodable()
    monkeypatch.chdir(folder.parent)
    later = misread.load("photos")
    assert later.fingerprint == first.fingerprint
    assert later.skipped == ("photos/dog/broken.png is not a readable image.",)


def change_pixels(folder: Path) -> None:
    save(folder / "dog" / "写真 0.png", np.zeros((6, 4), np.uint8))


def change_and_restore_size_and_time(folder: Path) -> None:
    path = folder / "dog" / "写真 0.png"
    size = path.stat().st_size
    Image.new("L", (4, 6), 7).save(path)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    assert path.stat().st_size == size
    os.utime(path, (LONG_AGO, LONG_AGO))


def add(folder: Path) -> None:
    save(folder / "dog" / "new.png", np.full((6, 4), 9, np.uint8))


def remove(folder: Path) -> None:
    (folder / "dog" / "写真 0.png").unlink()


def rename(folder: Path) -> None:
    (folder / "dog" / "写真 0.png").rename(folder / "dog" / "zz.png")


def relabel(folder: Path) -> None:
    (folder / "dog" / "写真 0.png").rename(folder / "고양이" / "moved.png")


def exchange(folder: Path) -> None:
    a, b = folder / "dog" / "写真 0.png", folder / "dog" / "写真 1.png"
    a.rename(folder / "x")
    b.rename(a)
    (folder / "x").rename(b)


@pytest.mark.parametrize(
    "change", [change_pixels, change_and_restore_size_and_time, add, remove, rename, relabel, exchange]
)
def test_changes_in_the_folder_are_detected(folder: Path, change: Callable[[Path], None]) -> None:
    before = misread.load(folder).fingerprint
    change(folder)
    after = misread.load(folder)
    names, pixels = plainly(folder)
    assert after.split("all").files == tuple(names)
    np.testing.assert_array_equal(after.split("all").images, pixels)
    assert after.fingerprint != before or change is rename
    same(after, misread.load(folder))


def entry() -> Path:
    (found,) = (cache_folder() / "folders").iterdir()
    return found


def pixels_file() -> Path:
    (found,) = entry().glob("*.pixels")
    return found


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", [pixels_file, lambda: entry() / "record.json"], ids=["pixels", "record"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[1]"),
        lambda path: path.unlink(),
    ],
    ids=["bit", "short", "long", "empty", "other", "removed"],
)
def test_a_damaged_cache_entry_is_detected_and_written_again(
    folder: Path, undecodable: Callable[[], None], part: Callable[[], Path], damage: Callable[[Path], object]
) -> None:
    first = misread.load(folder)
    damage(part())
    same(first, misread.load(folder))
    undecodable()
    same(first, misread.load(folder))


def test_a_recently_changed_file_is_decoded_again(folder: Path) -> None:
    """Its clock may not have ticked yet, so that another change would leave no trace."""
    path = folder / "dog" / "写真 0.png"
    os.utime(path)
    changed = path.stat().st_mtime_ns
    before = misread.load(folder)
    first = pixels_file()
    same(before, misread.load(folder))
    assert path.stat().st_mtime_ns == changed
    assert pixels_file() != first
    os.utime(path, (LONG_AGO, LONG_AGO))
    misread.load(folder)
    settled = pixels_file()
    misread.load(folder)
    assert pixels_file() == settled


def test_unreadable_files_are_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a disk had an error, or memory was short: the file itself is as it was."""
    path = folder / "dog" / "写真 0.png"

    def fails(tried: str | Path) -> np.ndarray:
        if Path(tried) == path:
            raise DataError(f"{tried} cannot be read: Input/output error.")
        return read_picture(tried)

    with monkeypatch.context() as patched:
        for module in (decode, folder_cache):
            patched.setattr(module, "read_picture", fails)
        assert misread.load(folder).skipped == (f"{path} cannot be read: Input/output error.",)
        assert len(misread.load(folder).skipped) == 1
    data = misread.load(folder)
    assert data.skipped == ()
    assert len(data.split("all")) == 24


def test_another_version_of_the_decoder_decodes_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misread.load(folder)
    first = pixels_file()
    monkeypatch.setattr("PIL.__version__", "99.0")
    misread.load(folder)
    assert pixels_file() != first


def test_an_unwritable_cache_only_gives_a_note(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached = misread.load(folder)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MISREAD_CACHE", str(tmp_path / "file" / "cache"))
    lines: list[str] = []
    same(cached, misread.load(folder, progress=lines.append))
    (note,) = lines
    assert f"cannot be cached in {tmp_path}/file/cache/folders: Not a directory" in note
    assert "set MISREAD_CACHE to a folder on another disk" in note


def run(script: str, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)  # type: ignore[call-overload]


FULL = """
import resource, sys, misread
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # writing more fails, as on a full disk
lines = []
data = misread.load(sys.argv[1], progress=lines.append)
print(data.fingerprint, len(lines), lines[0].split(". ")[0])
"""


def test_a_full_disk_gives_a_note_and_leaves_no_files(folder: Path) -> None:
    done = run(FULL, folder)
    entry_ = entry()
    assert list(entry_.iterdir()) == []
    fingerprint = misread.load(folder).fingerprint
    assert done.stdout == (
        f"{fingerprint} 1 The decoded images cannot be cached in {entry_.parent}: File too large\n"
    ), done.stderr


LOAD = "import sys, misread; print(misread.load(sys.argv[1]).fingerprint)"


def test_processes_may_load_at_the_same_time(folder: Path) -> None:
    command = [sys.executable, "-c", LOAD, str(folder)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    prints = {process.communicate(timeout=60)[0].strip() for process in running}
    assert prints == {misread.load(folder).fingerprint}
    names = {path.name for path in entry().iterdir()}
    assert json.loads((entry() / "record.json").read_text())["pixels"] in names


SLOW = """
import os, sys, time, misread
from misread.data import decode, pixels_file
decode.PROCESSES_FROM, decode.BATCH_FILES = 1, 1
before = pixels_file._with_channels
def slow(*arguments):
    print("decoding", flush=True)
    time.sleep(0.5)
    return before(*arguments)
pixels_file._with_channels = slow
misread.load(sys.argv[1])
"""


def children_of(pid: int) -> set[int]:
    lists = [p.read_text() for p in Path(f"/proc/{pid}/task").glob("*/children")]
    return {int(child) for text in lists for child in text.split()}


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "ctrl-c"])
def test_an_entry_of_a_killed_process_is_never_used(folder: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", SLOW, str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "decoding\n"
    decoders = children_of(process.pid)
    assert len(decoders) >= 2
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: the decoding processes get it too
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == (how == signal.SIGINT)  # the decoding processes say nothing
    until = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in decoders):
        assert time.monotonic() < until, "a decoding process outlives the one that started it"
        time.sleep(0.05)
    left = list(entry().iterdir())
    assert len(left) == (how == signal.SIGKILL)
    names, pixels = plainly(folder)
    data = misread.load(folder)
    np.testing.assert_array_equal(data.split("all").images, pixels)
    assert data.split("all").files == tuple(names)
    for path in left:  # nobody has written to it for an hour: the next time that something is written it goes
        os.utime(path, (LONG_AGO, LONG_AGO))
    add(folder)
    misread.load(folder)
    assert len(list(entry().iterdir())) == 2


SCRIPT = """
from misread.data import decode
decode.PROCESSES_FROM = 1
import misread
print("once")
misread.load({folder!r})
"""


def test_a_script_without_a_main_guard_is_run_once(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(folder)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "once\n"


def test_replaced_pixels_are_removed_but_open_maps_stay_readable(folder: Path) -> None:
    data = misread.load(folder)
    images = data.split("all").images.copy()
    first = pixels_file()
    add(folder)
    misread.load(folder)
    assert pixels_file() != first
    np.testing.assert_array_equal(data.split("all").images, images)


BOUNDED = """
import resource, sys
from pathlib import Path
import numpy as np
import misread
from misread.data import folder_cache  # what it imports is not counted

def data_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData"))

allowed = 200_000_000
limit = data_bytes() + allowed
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
for _ in range(2):
    data = misread.load(sys.argv[1])
    assert data.train.images.nbytes + data.test.images.nbytes > 1.4 * allowed
    data.fingerprint
try:
    np.asarray(data.train.images)
except MemoryError:
    print("bounded")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_folder_larger_than_the_memory_limit_is_decoded_and_loaded(tmp_path: Path) -> None:
    """Under a limit on a process's own memory, which maps of files do not count towards; a copy of all breaks it."""
    pixels = np.zeros((500, 400, 3), np.uint8)
    pixels[..., 0] = 1
    first = save(tmp_path / "photos" / "a" / "0.png", pixels)
    save(tmp_path / "photos" / "b" / "0.png", pixels)
    for i in range(1, 250):
        for name in "ab":
            os.link(first, tmp_path / "photos" / name / f"{i}.png")
    done = run(BOUNDED, tmp_path / "photos")
    assert done.stdout == "bounded\n", done.stderr
