"""IDX files, MNIST's format: a magic number, the sizes, then the values. Gzipped or not.

Format: yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE MNIST DATABASE".
"""

import hashlib
import math
import mmap
import os
import zlib
from pathlib import Path

import numpy as np

from misread.data.memory import check_fits
from misread.errors import DataError

UNSIGNED_BYTE = 0x08
LONGEST_HEADER = 4 + 4 * 255
MOST_DEFLATED = 1032  # bytes that a compressed byte can become
LARGE = "Save the images as an .npy file, which stays on the disk."


def read_bytes(path: Path) -> bytes:
    """The bytes of an IDX file, decompressed if it is gzipped. Raises DataError: missing, truncated or damaged.

    Of gzipped contents that are longer than their header says, only one byte more is decompressed.
    """
    try:
        with path.open("rb") as file:
            check_fits(os.fstat(file.fileno()).st_size, f"{path} in memory", LARGE)
            raw = file.read()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        expected = _length(zlib.decompressobj(wbits=31).decompress(raw, LONGEST_HEADER))
        check_fits(min(expected, MOST_DEFLATED * len(raw)), f"{path} in memory", LARGE)
        stream = zlib.decompressobj(wbits=31)
        contents = stream.decompress(raw, expected + 1)
    except zlib.error as error:
        raise DataError(f"{path} is damaged: {error}. Download it again.") from None
    if not stream.eof and len(contents) <= expected:
        raise DataError(
            f"{path} is truncated: its {len(raw):,} bytes end inside the gzip stream. Download it again."
        ) from None
    return contents


def _length(contents: bytes) -> int:
    """The length of the file by its header; of another file than IDX, enough to see that."""
    dimensions = contents[3] if len(contents) > 3 and contents[:2] == b"\0\0" else 0
    header = 4 + 4 * dimensions
    sizes = (int.from_bytes(contents[i : i + 4], "big") for i in range(4, header, 4))
    return header + math.prod(sizes) if dimensions and len(contents) >= header else LONGEST_HEADER


def parse_idx(contents: bytes | mmap.mmap, path: Path, ndims: tuple[int, ...]) -> np.ndarray:
    """The uint8 array in decompressed IDX bytes, without a copy.

    ndims: the allowed numbers of dimensions (1 for labels, 3 or 4 for images).
    Raises DataError: wrong magic number, or a length that does not match the sizes.
    """
    magic = contents[:4]
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTE or magic[3] not in ndims:
        wanted = " or ".join(f"0x{UNSIGNED_BYTE << 8 | n:08x}" for n in ndims)
        raise DataError(
            f"{path} has the magic number 0x{magic.hex() or '(none)'}, not {wanted}: it is not an IDX file of "
            f"{'labels' if ndims == (1,) else 'images'}."
        )
    header = 4 + 4 * magic[3]
    shape = tuple(int.from_bytes(contents[i : i + 4], "big") for i in range(4, header, 4))
    expected = header + math.prod(shape)
    if len(contents) != expected:
        what = "truncated" if len(contents) < expected else "too long"
        raise DataError(
            f"{path} is {what}: its header gives {' x '.join(map(str, shape))}, so {expected:,} bytes, "
            f"but it has {len(contents):,}. Download it again."
        )
    return np.frombuffer(contents, np.uint8, offset=header).reshape(shape)


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as IDX bytes: the inverse of `parse_idx`."""
    return b"".join([idx_header(array.shape), np.ascontiguousarray(array, dtype=np.uint8).data])


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The bytes before the values of a uint8 array in an IDX file."""
    return bytes([0, 0, UNSIGNED_BYTE, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)


def sha256(contents: bytes | mmap.mmap) -> str:
    return hashlib.sha256(contents).hexdigest()
