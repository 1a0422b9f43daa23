"""A damaged tar file is an error: no picture behind the damage is lost without a word."""

from pathlib import Path

import pytest

from misread.data.tar_pictures import tar_pictures
from misread.errors import DataError
from shard_jobs import write_tar

BLOCK = 512  # bytes of a header, and what contents are filled up to
KEYS = ["a", "b", "c"]


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    """Three files of one block each: headers begin at 0, 1,024 and 2,048; zeros follow from 3,072 on."""
    write_tar(tmp_path / "whole.tar", [(f"{key}.png", key.encode() * BLOCK) for key in KEYS])
    return (tmp_path / "whole.tar").read_bytes()


def keys(path: Path, contents: bytes) -> list[str]:
    path.write_bytes(contents)
    return [picture.key for picture in tar_pictures(str(path), ())]


def test_every_cut_inside_a_file_is_noticed(whole: bytes, tmp_path: Path) -> None:
    assert keys(tmp_path / "x.tar", whole) == KEYS
    for cut in sorted({*range(1, 6 * BLOCK, 13), *range(BLOCK, 6 * BLOCK, BLOCK)}):
        if cut % (2 * BLOCK) == 0:  # after a whole file: many writers leave out the zeros at the end
            assert keys(tmp_path / "x.tar", whole[:cut]) == KEYS[: cut // (2 * BLOCK)]
        else:
            with pytest.raises(DataError, match=r"x\.tar is damaged"):
                keys(tmp_path / "x.tar", whole[:cut])


@pytest.mark.parametrize("place", [0, 100, 124, 148, 156, 257])  # name, mode, size, checksum, type, magic
@pytest.mark.parametrize("file", range(3))
def test_a_flipped_byte_in_a_header_is_noticed(whole: bytes, tmp_path: Path, file: int, place: int) -> None:
    damaged = bytearray(whole)
    damaged[2 * BLOCK * file + place] ^= 0x11
    with pytest.raises(DataError, match=r"x\.tar is damaged"):
        keys(tmp_path / "x.tar", bytes(damaged))
