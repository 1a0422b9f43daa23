"""A damaged tar file is an error: no picture behind the damage is lost without a word."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


@pytest.mark.parametrize("file", range(3))
def test_a_flipped_byte_in_a_header_is_noticed(whole: bytes, tmp_path: Path, file: int) -> None:
    for place in [0, 100, 124, 148, 156, 257, *range(1, BLOCK, 13)]:  # name, mode, size, checksum, type, magic, others
        damaged = bytearray(whole)
        damaged[2 * BLOCK * file + place] ^= 0x11
        with pytest.raises(DataError, match=r"x\.tar is damaged"):
            keys(tmp_path / "x.tar", bytes(damaged))


NAMES = ["a.png", "b/c.png", "é.png", f"{'d' * 99}/{'e' * 80}.png", f"{'f' * 300}.png", "g" * 96 + ".png", "h.png"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("compressed", ["", "gz"])
def test_names_and_contents_are_those_of_any_writer(tmp_path: Path, form: int, compressed: str) -> None:
    """Folders, links, long names and old headers lie among the plain files."""
    names = [name for name in NAMES if form != tarfile.USTAR_FORMAT or len(name) < 200]
    with tarfile.open(tmp_path / "x.tar", f"w:{compressed}", format=form) as tar:
        for number, name in enumerate(names):
            folder, link = tarfile.TarInfo(f"folder{number}"), tarfile.TarInfo(f"link{number}.png")
            folder.type, link.type, link.linkname = tarfile.DIRTYPE, tarfile.SYMTYPE, names[0]
            tar.addfile(folder)
            tar.addfile(link)
            member, contents = tarfile.TarInfo(name), io.BytesIO()
            Image.fromarray(np.full((number + 1, 5), 7 * number, np.uint8)).save(contents, "png")
            member.size = contents.tell()
            member.type = tarfile.AREGTYPE if number == len(names) - 1 else tarfile.REGTYPE
            contents.seek(0)
            tar.addfile(member, contents)
    found = list(tar_pictures(str(tmp_path / "x.tar"), ()))
    assert [picture.key for picture in found] == [name.removesuffix(".png") for name in names]
    for number, picture in enumerate(found):
        np.testing.assert_array_equal(picture.read(), np.full((number + 1, 5, 1), 7 * number))
