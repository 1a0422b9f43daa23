"""Folders of `.npy` files: what they are called, what is refused, and that their images stay on disk."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.data.image_set import ImageSet
from misread.data.mapped_images import MappedImages
from misread.errors import DataError
from samples import blocks

TRAIN, TEST = blocks(40), blocks(12, seed=1)


def save(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name.replace('__', '-')}.npy", array)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("train__images", "train__labels", "test__images", "test__labels"),
        ("x_train", "y_train", "x_test", "y_test"),
        ("X_train", "y_train", "X_test", "y_test"),
        ("images", "labels", "test_images", "test_labels"),
    ],
)
def test_known_file_names_give_the_saved_arrays(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, (*TRAIN, *TEST), strict=True))
    data = misread.load(save(tmp_path / "mine", **arrays))
    assert data.name == "mine"
    for split, (images, labels) in ((data.train, TRAIN), (data.test, TEST)):
        assert isinstance(split.images, MappedImages)
        np.testing.assert_array_equal(np.asarray(split.images), images)
        np.testing.assert_array_equal(split.labels, labels)


def test_npy_files_give_the_same_set_as_an_npz(tmp_path: Path) -> None:
    """The same fingerprint, from pixels in a file and in memory, for given splits and for carved ones."""
    (x, y), (tx, ty) = TRAIN, TEST
    names = np.array(list("abcd"))
    given = {"x_train": x, "y_train": y, "x_test": tx, "y_test": ty, "class_names": names}
    np.savez(tmp_path / "given.npz", **given)  # type: ignore[arg-type]
    assert misread.load(save(tmp_path / "a", **given)).fingerprint == misread.load(tmp_path / "given.npz").fingerprint
    np.savez(tmp_path / "carved.npz", x_train=x, y_train=y)
    carved = misread.load(save(tmp_path / "b", images=x[..., 0], labels=y))
    in_memory = misread.load(tmp_path / "carved.npz")
    assert carved.carved_test
    assert carved.fingerprint == in_memory.fingerprint
    for split in ("train", "test", "all"):
        ours, theirs = carved.split(split), in_memory.split(split)
        assert isinstance(ours.images, MappedImages)
        np.testing.assert_array_equal(np.asarray(ours.images), theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.rows, theirs.rows)


def test_colour_one_hot_and_a_validation_split(tmp_path: Path) -> None:
    x, y = blocks(24, channels=3)
    folder = save(tmp_path, x_train=x, y_train=np.eye(4)[y], x_valid=x[:8], y_valid=np.eye(4)[y[:8]])
    data = misread.load(folder)
    assert data.image_shape == (8, 8, 3)
    assert data.one_hot
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "val": 8, "test": 4}
    assert data.val is not None
    assert len(data.split("all")) == 32  # from two files


def test_one_of_the_files_loads_the_whole_set(tmp_path: Path) -> None:
    folder = save(tmp_path, images=TRAIN[0], labels=TRAIN[1], embeddings=np.zeros((40, 3)))
    data = misread.load(folder / "images.npy")
    assert data.fingerprint == misread.load(folder).fingerprint
    assert misread.load(data.source).fingerprint == data.fingerprint
    with pytest.raises(DataError, match=r"embeddings.npy does not have a known name for images or labels"):
        misread.load(folder / "embeddings.npy")


def test_a_memory_mapped_array_stays_mapped_in_python_too(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", TRAIN[0][..., 0])
    data = ImageSet.from_arrays(np.load(tmp_path / "pixels.npy", mmap_mode="r"), TRAIN[1])
    assert isinstance(data.train.images, MappedImages)
    assert data.fingerprint == ImageSet.from_arrays(*TRAIN).fingerprint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": TRAIN[0]}, r"images.npy exists, but the file with its labels is missing"),
        ({"y_train": TRAIN[1]}, r"y_train.npy exists, but the file with its images is missing"),
        ({"images": TRAIN[0], "labels": TRAIN[1][:-1]}, r"train labels has 39 rows but train images has 40"),
        ({"images": TRAIN[0] / 255, "labels": TRAIN[1]}, r"images.npy: values are float64, .* must be uint8"),
        ({"images": TRAIN[0][0, 0], "labels": TRAIN[1]}, r"train images .*: the shape is \(8, 1\), but must be"),
        ({"images": TRAIN[0][:0], "labels": TRAIN[1][:0]}, r"The train split has no images"),
        ({"images": np.asfortranarray(TRAIN[0]), "labels": TRAIN[1]}, r"images.npy is in Fortran order"),
        ({"images": TRAIN[0], "x_train": TRAIN[0]}, r"images.npy and x_train.npy, both for the train images"),
        ({"images": TRAIN[0], "labels": TRAIN[1] / 2}, r"train labels .*: 0.5 at row 1 is not a whole number"),
    ],
)
def test_files_that_are_not_a_data_set_are_refused_by_name(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        misread.load(save(tmp_path, **arrays))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda b: b[:-1], r"is truncated: its header gives 40.* but it has"),
        (lambda b: b + b"\0", r"is too long: its header gives 40"),
        (lambda b: b[:20], r"is damaged or not an .npy file"),
        (lambda b: b"", r"is damaged or not an .npy file"),
        (lambda b: b"PK\x03\x04" + b, r"is damaged or not an .npy file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, harm: object, message: str) -> None:
    folder = save(tmp_path, images=TRAIN[0], labels=TRAIN[1])
    path = folder / name
    path.write_bytes(harm(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"{name} {message}"):
        misread.load(folder)


@pytest.mark.parametrize("name", ["images", "labels", "class_names"])
def test_npy_is_never_unpickled(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(tmp_path / "exploded").write_text, ("boom",)

    folder = save(tmp_path, images=TRAIN[0], labels=TRAIN[1])
    np.save(folder / f"{name}.npy", np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match=rf"{name}.npy contains Python objects, which misread never unpickles"):
        misread.load(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "key",
    [3, -1, slice(None), slice(2, 9), slice(None, None, -3), np.array([4, 0, 4]), np.arange(10) % 3 == 0, [1, 2]],
    ids=str,
)
@pytest.mark.parametrize("rows", [None, np.array([7, 3, 3, 39, 0, 12, 13, 14, 2, 1])], ids=["all", "some"])
def test_mapped_images_are_indexed_like_an_array(tmp_path: Path, rows: np.ndarray | None, key: object) -> None:
    np.save(tmp_path / "x.npy", TRAIN[0][:10] if rows is None else TRAIN[0])
    file = np.asarray(np.load(tmp_path / "x.npy", mmap_mode="r"))
    images, plain = MappedImages(file, rows), np.array(file if rows is None else file[rows])
    read = images[key]  # type: ignore[index]
    np.testing.assert_array_equal(read, plain[key])  # type: ignore[index]
    assert read.flags.writeable  # it is the reader's own, so that torch takes it without a warning
    assert (images.shape, images.ndim, images.dtype) == (plain.shape, 4, np.uint8)
    assert (images.nbytes, len(images)) == (plain.nbytes, 10)
    np.testing.assert_array_equal(list(images), plain)
    np.testing.assert_array_equal(images.take(np.array([9, 1, 1]))[:], plain[[9, 1, 1]])


BOUNDED = """
import resource, sys
from pathlib import Path
import numpy as np
import misread
from misread.data.geometry import measure_geometry
misread.load  # what it imports is not counted

def data_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData"))

allowed = 100_000_000
limit = data_bytes() + allowed
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
data = misread.load(sys.argv[1])
assert data.carved_test
assert data.train.images.nbytes + data.test.images.nbytes > 4 * allowed
measure_geometry(data.train.images)
kept = data.train.take(np.arange(0, len(data.train), 2))
kept.images[np.random.default_rng(0).permutation(len(kept))[:64]]
data.split("all").images[-5:]
if len(sys.argv) > 2:
    data.fingerprint
try:
    np.asarray(data.train.images)
except MemoryError:
    print("bounded")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize(("count", "side", "also"), [(5_000, 300, ["fingerprint"]), (200_000, 300, [])])
def test_a_set_larger_than_the_memory_limit_loads_and_is_carved(
    tmp_path: Path, count: int, side: int, also: list[str]
) -> None:
    """Under a limit on a process's own memory, which maps of files do not count towards; a copy of all breaks it."""
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (count, side, side))  # zeros that take no disk
    np.save(tmp_path / "labels.npy", np.arange(count) % 10)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path), *also]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.stdout == "bounded\n", finished.stderr
