"""`.npz` and `.csv`."""

from pathlib import Path

import numpy as np
import pytest

import misread
from misread.errors import DataError
from samples import blocks


def save_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def test_the_keys_of_keras_are_read_with_colour_and_column_labels(tmp_path: Path) -> None:
    (x, y), (tx, ty) = blocks(40, channels=3), blocks(12, channels=3, seed=1)
    data = misread.load(save_npz(tmp_path / "c.npz", x_train=x, y_train=y[:, None], x_test=tx, y_test=ty[:, None]))
    assert data.image_shape == (8, 8, 3)
    np.testing.assert_array_equal(data.train.images, x)
    np.testing.assert_array_equal(data.test.labels, ty)


def test_an_npz_without_the_keys_of_keras_lists_its_keys(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "x.npz", images=np.zeros((2, 4, 4)))
    with pytest.raises(DataError, match=r"has the keys images, but needs x_train and y_train"):
        misread.load(path)


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(tmp_path / "exploded").write_text, ("boom",)

    path = tmp_path / "bomb.npz"
    np.savez(path, x_train=np.array([Bomb()], dtype=object), y_train=np.array([0]))
    with pytest.raises(DataError, match="misread never unpickles"):
        misread.load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("contents", [b"", b"no zip at all", b"PK\x03\x04 cut"])
def test_a_damaged_npz_is_refused(tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(contents)
    with pytest.raises(DataError, match=r"bad\.npz"):
        misread.load(path)


def test_a_test_label_missing_from_train_is_named(tmp_path: Path) -> None:
    x, y = blocks(8)
    path = save_npz(tmp_path / "k.npz", x_train=x, y_train=y, x_test=x, y_test=y + 1)
    with pytest.raises(DataError, match=r"test labels has 4 at row 3, which is not a class of train \(0..3\)"):
        misread.load(path)


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_csv_with_and_without_a_header_is_the_same(tmp_path: Path) -> None:
    lines = [f"{k % 3},{k},1,2,3" for k in range(12)]
    plain = misread.load(csv(tmp_path / "a.csv", *lines))
    headed = misread.load(csv(tmp_path / "b.csv", "label,p0,p1,p2,p3", *lines))
    assert plain.fingerprint == headed.fingerprint
    assert plain.image_shape == (2, 2, 1)
    everything = plain.split("all")
    assert everything.images[5].ravel().tolist() == [5, 1, 2, 3]
    assert everything.labels.tolist() == [k % 3 for k in range(12)]


def test_a_csv_of_non_square_images_needs_their_size(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", *[f"{k % 2},1,2,3,4,5,6" for k in range(8)])
    with pytest.raises(DataError, match=r"(?s)6 pixels per line.*--size HxW"):
        misread.load(path)
    assert misread.load(path, size=(2, 3)).image_shape == (2, 3, 1)


def test_csv_labels_need_not_start_at_zero(tmp_path: Path) -> None:
    data = misread.load(csv(tmp_path / "a.csv", *[f"{k % 2 * 4 + 3},1" for k in range(8)]))
    assert data.class_names == ("3", "7")
    assert set(data.train.labels) == {0, 1}


def test_csv_with_a_byte_order_mark_or_quotes_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(f'"{k % 2}","{k}"\n' for k in range(8)).encode())
    assert misread.load(path).split("all").images.ravel().tolist() == list(range(8))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["0,1,2,3,4", "1,1,2,3", "0,1,2,3,4"],
            r"line 2, column 5: the cell is empty. Every line needs a label and all",
        ),
        (["0,1,2,3,4", "1,1,2,3,4,5"], r"has lines of different lengths: Expected 5 fields in line 2, saw 6"),
        (["0,1,2,3,4", "1,1,x,3,4"], r"line 2, column 3: 'x' is not a number"),
        (["cat,1,2,3,4", "dog,1,2,3,4"], r"line 1, column 1: 'cat' is not a number"),
        (["0,1,2,3,4", "1,1,nan,3,4"], r"line 2, column 3: 'nan' is not a number"),
        (["0,1,2,3,4", "1,1,2,3,256"], r"values range from 1 to 256"),
        (["0,1,2,3,4", "1.5,1,2,3,4"], r"1.5 at row 1 is not a whole number"),
        (["0,1,x,3,4", "1,1,2,3,4"], r"line 1, column 3: 'x' is not a number"),
        (["0,1,2,3,4", "-1,1,2,3,4"], r"-1 at row 1 is negative"),
        ([""], r"is empty"),
        (["label,pixel"], r"header line but no images"),
    ],
)
def test_errors_in_a_csv_name_the_place(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        misread.load(csv(tmp_path / "bad.csv", *lines))
