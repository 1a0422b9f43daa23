import gzip
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.data.idx import idx_bytes
from misread.errors import DataError
from samples import blocks

TRAIN = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


def test_idx_bytes_follow_the_published_format() -> None:
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert idx_bytes(array) == bytes.fromhex("00000803 00000001 00000002 00000003 000102030405")


def test_idx_folder_gives_images_labels_and_rows_as_written(idx_folder: Path) -> None:
    data = misread.load(idx_folder)
    images, labels = blocks(40)
    np.testing.assert_array_equal(data.train.images, images)
    np.testing.assert_array_equal(data.train.labels, labels)
    np.testing.assert_array_equal(data.train.rows, np.arange(40))
    assert len(data.test) == 20
    assert data.train.labels.dtype == np.int64


def test_gzipped_files_load_the_same_as_plain_ones(idx_folder: Path) -> None:
    plain = misread.load(idx_folder).fingerprint
    for path in list(idx_folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert misread.load(idx_folder).fingerprint == plain


def test_truncated_file_error_names_path_and_bytes(idx_folder: Path) -> None:
    path = idx_folder / TRAIN
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{TRAIN} is truncated.*40 x 8 x 8, so 2,576 bytes, but it has 2,575"):
        misread.load(idx_folder)


def test_an_extra_byte_is_refused(idx_folder: Path) -> None:
    path = idx_folder / TRAIN
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError, match="too long"):
        misread.load(idx_folder)


def test_truncated_gzip_names_the_file(idx_folder: Path) -> None:
    path = idx_folder / TRAIN
    path.with_name(TRAIN + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-9])
    path.unlink()
    with pytest.raises(DataError, match=rf"{TRAIN}.gz is truncated"):
        misread.load(idx_folder)


def test_bit_flipped_gzip_is_refused(idx_folder: Path) -> None:
    path = idx_folder / TRAIN
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[len(packed) // 2] ^= 0x10
    path.with_name(TRAIN + ".gz").write_bytes(packed)
    path.unlink()
    with pytest.raises(DataError, match="is damaged|is truncated"):
        misread.load(idx_folder)


def test_wrong_magic_number_is_named_beside_the_right_ones(idx_folder: Path) -> None:
    path = idx_folder / TRAIN
    path.write_bytes(b"\0\0\x0d\x03" + path.read_bytes()[4:])
    with pytest.raises(DataError, match=r"magic number 0x00000d03, not 0x00000803 or 0x00000804.*IDX file of images"):
        misread.load(idx_folder)


def test_an_empty_file_is_refused(idx_folder: Path) -> None:
    (idx_folder / LABELS).write_bytes(b"")
    with pytest.raises(DataError, match="magic number 0x.none., not 0x00000801"):
        misread.load(idx_folder)


def test_different_counts_name_both_files_and_numbers(idx_folder: Path) -> None:
    (idx_folder / LABELS).write_bytes(idx_bytes(np.zeros(39, np.uint8)))
    with pytest.raises(DataError, match=rf"{LABELS} has 39 labels but {TRAIN} has 40 images"):
        misread.load(idx_folder)


def test_missing_partner_is_named(idx_folder: Path) -> None:
    (idx_folder / LABELS).unlink()
    with pytest.raises(DataError, match=f"{TRAIN} exists, but the file with its labels is missing"):
        misread.load(idx_folder)
