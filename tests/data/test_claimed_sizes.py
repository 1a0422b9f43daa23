"""Headers that claim more than their file has, or more than the memory: refused before anything is allocated."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.data import memory
from misread.data.idx import idx_bytes, idx_header
from misread.data.memory import memory_bytes, size_text
from misread.data.npy import read_npy
from misread.data.npz import read_npz
from misread.errors import DataError
from samples import Result

LIMIT = 2**24  # bytes that reading may allocate: far below every claim here


@pytest.fixture(autouse=True)
def _small_allocations() -> Iterator[None]:
    """NumPy and zlib report their allocations to tracemalloc, those that are never written to, too."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """Version 1.0 of the format, written by its description and not by NumPy."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def npz(path: Path, member: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("x_train.npy", member)
    return path


def claiming(path: Path, claimed: int) -> Path:
    """The zip file with the size of its only member overwritten, in its own header and in the central directory."""
    raw = bytearray(path.read_bytes())
    raw[22:26] = raw[raw.index(b"PK\x01\x02") + 24 :][:4] = struct.pack("<I", claimed)
    at = raw.index(b"PK\x01\x02") + 24
    raw[at : at + 4] = struct.pack("<I", claimed)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_npz_whose_header_claims_19_gb_is_refused(tmp_path: Path, kind: int, cli: Callable[..., Result]) -> None:
    path = npz(tmp_path / "huge.npz", npy_header((24_000_000, 28, 28)) + bytes(1000), kind)
    result = cli("data", "info", path)
    assert result.code == 2
    assert "x_train.npy is truncated: its header gives 24000000 x 28 x 28 uint8" in result.err
    assert "Traceback" not in result.err


def test_a_zip_directory_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    shape = (4_000_000_000 - 128,)
    path = claiming(npz(tmp_path / "lie.npz", npy_header(shape) + bytes(1000)), 4_000_000_000)
    with pytest.raises(DataError, match=r"lie.npz: the array x_train.npy claims 4.0 GB, but the file has 1.1 kB of it"):
        read_npz(path)


def test_an_npz_that_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path / "bomb.npz", npy_header((10**6,)) + bytes(10**6), zipfile.ZIP_DEFLATED)
    assert len(read_npz(path)["x_train"]) == 10**6
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6 + 127)
    with pytest.raises(DataError, match=r"bomb.npz in memory needs 1.0 MB, but this machine has 1.0 MB of memory"):
        read_npz(path)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6 + 128)
    read_npz(path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2**40, 2**40, 2**40), "truncated"),
        ((-2, -5), "truncated"),
        ((10,) * 1 + (1,) * 80, "cannot be read|damaged"),
    ],
)
def test_npy_headers_that_overflow_are_refused(tmp_path: Path, shape: tuple[int, ...], said: str) -> None:
    path = tmp_path / "x.npy"
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(10))
    with pytest.raises(DataError, match=said):
        read_npy(path)


def test_a_sparse_npy_of_labels_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    path.write_bytes(npy_header((2**42,)))
    os.truncate(path, 128 + 2**42)  # takes no disk
    with pytest.raises(DataError, match=r"labels.npy needs 4.3 TB, but this machine has"):
        read_npy(path)


def write_set(folder: Path, images: bytes) -> Path:
    folder.mkdir()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(np.arange(10, dtype=np.uint8))))
    return folder


def test_a_gzipped_idx_whose_header_claims_19_gb_is_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "idx", idx_header((24_000_000, 28, 28)) + bytes(10 * 784))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is truncated: .* so 18,816,000,016 bytes"):
        misread.load(folder)


def test_a_gzip_bomb_is_decompressed_no_further_than_its_idx_header_says(tmp_path: Path) -> None:
    folder = tmp_path / "idx"
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="w", compresslevel=1) as file:
        file.write(idx_header((10, 28, 28)))
        for _ in range(100):
            file.write(bytes(10**6))
    write_set(folder, b"")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(bomb.getvalue())
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is too long"):
        misread.load(folder)


def test_a_sparse_idx_beyond_the_memory_is_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "idx", b"")
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(idx_header((2**31, 64, 32)))
    os.truncate(path, 16 + 2**42)
    with pytest.raises(DataError, match=r"idx3-ubyte in memory needs 4.3 TB, .*\nSave the images as an .npy file"):
        misread.load(folder)


def test_the_memory_is_the_containers_where_that_is_less(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       2048 kB\nMemFree: 1 kB\n")
    assert memory_bytes(tmp_path) == 2**21
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for limit, expected in (("max", 2**21), (str(2**20), 2**20), (str(2**62), 2**21)):
        (tmp_path / "sys/fs/cgroup/memory.max").write_text(f"{limit}\n")
        assert memory_bytes(tmp_path) == expected


@pytest.mark.parametrize(
    ("size", "text"),
    [(999, "999 bytes"), (1000, "1.0 kB"), (18_816_000_000, "18.8 GB"), (10**400, f"{10**388:,}.0 TB")],
)
def test_sizes_are_exact_also_beyond_floats(size: int, text: str) -> None:
    assert size_text(size) == text
