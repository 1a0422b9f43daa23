"""IDX files, the format MNIST came in: a magic number, the sizes, then the bytes. Gzipped or not.

Format: yann.lecun.com/exdb/mnist, "FILE FORMATS FOR THE MNIST DATABASE".
"""

import hashlib
import re
import zlib
from pathlib import Path

import numpy as np

from misread.data.image_set import ImageSet, build_image_set
from misread.errors import DataError

UNSIGNED_BYTE = 0x08
_NAME = re.compile(r"(?P<split>train|t10k|test|valid|val)[-_.]?(?P<kind>images|labels)[-_.]idx\d-ubyte(\.gz)?$")
_SPLIT = {"train": "train", "t10k": "test", "test": "test", "val": "val", "valid": "val"}


def find_idx(folder: Path) -> dict[tuple[str, str], Path]:
    """(split, "images" or "labels") -> file, for the IDX files in a folder; a plain file goes before its `.gz`."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        if (match := _NAME.search(path.name)) and not path.name.startswith("."):
            found.setdefault((_SPLIT[match["split"]], match["kind"]), path)
    return found


def load_idx_folder(folder: Path) -> ImageSet:
    """An image set from a folder of IDX files named the way MNIST's are.

    Raises DataError: a file without its partner, truncated, damaged, or with another magic number.
    """
    found = find_idx(folder)
    parts = {}
    for split in dict.fromkeys(s for s, _ in found):
        for kind, other in (("images", "labels"), ("labels", "images")):
            if (split, kind) not in found:
                raise DataError(
                    f"{folder}: {found[split, other].name} is there but the file with its {kind} is missing.\n"
                    "Put both into the folder."
                )
        images = parse_idx(read_bytes(found[split, "images"]), found[split, "images"], (3, 4))
        labels = parse_idx(read_bytes(found[split, "labels"]), found[split, "labels"], (1,))
        if len(images) != len(labels):
            raise DataError(
                f"{found[split, 'labels'].name} has {len(labels):,} labels but {found[split, 'images'].name} has "
                f"{len(images):,} images ({folder}).\nTake both from the same split."
            )
        parts[split] = (images, labels)
    return build_image_set(folder.resolve().name, parts, location=str(folder))


def read_bytes(path: Path) -> bytes:
    """The bytes of a file, decompressed where it is gzipped. Raises DataError: missing, truncated or damaged."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    # the last four bytes say how long the contents are: without that, zlib would grow its buffer by doubling it
    said = int.from_bytes(raw[-4:], "little")
    try:
        return zlib.decompress(raw, wbits=31, bufsize=min(max(said, 1), 1100 * len(raw)))
    except zlib.error as error:
        if "incomplete" in str(error):
            raise DataError(
                f"{path} is truncated: its {len(raw):,} bytes end inside the gzip stream. Fetch it again."
            ) from None
        raise DataError(f"{path} is damaged: {error}. Fetch it again.") from None


def parse_idx(contents: bytes, path: Path, ndims: tuple[int, ...]) -> np.ndarray:
    """The uint8 array in decompressed IDX bytes, without a copy.

    ndims: how many dimensions are allowed (1 for labels, 3 or 4 for images).
    Raises DataError: wrong magic number, or more or fewer bytes than the sizes say.
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
    expected = header + int(np.prod(shape, dtype=object))
    if len(contents) != expected:
        what = "truncated" if len(contents) < expected else "too long"
        raise DataError(
            f"{path} is {what}: its header says {' x '.join(map(str, shape))}, so {expected:,} bytes, "
            f"but it has {len(contents):,}. Fetch it again."
        )
    return np.frombuffer(contents, np.uint8, offset=header).reshape(shape)


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as IDX bytes: the inverse of `parse_idx`."""
    header = bytes([0, 0, UNSIGNED_BYTE, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()


def sha256(contents: bytes) -> str:
    return hashlib.sha256(contents).hexdigest()
