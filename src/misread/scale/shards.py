"""Shards: the parts of a job. Each has a name that depends only on what the job was given, and is predicted as a whole.

A shard is a tar file, a Parquet file, a range of rows of an array (`.npy`, IDX), or some of a list of picture files.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from misread.data.decode import usable_cores
from misread.data.locations import file_size, is_url, open_file
from misread.data.patterns import expand_pattern
from misread.data.picture_files import scan_pictures
from misread.errors import DataError
from misread.scale.row_files import is_row_file, open_rows

IMAGES_PER_SHARD = 10_000  # of arrays and of lists of files, which have no shards of their own

Kind = Literal["tar", "parquet", "rows", "files"]

_ENDINGS: dict[str, Kind] = {
    ".tar": "tar", ".tar.gz": "tar", ".tgz": "tar", ".parquet": "parquet", ".txt": "files",
}  # fmt: skip
_KNOWN = "a tar file, a Parquet file, an .npy or IDX file of images, a folder of pictures, or a .txt list of pictures"


@dataclass(frozen=True)
class Shard:
    """One part of a job.

    name:   of the file with its predictions, without `.parquet`.
    path:   the file, folder or list, or a URL.
    start, stop: the rows of an array or the positions in a list; 0 and None for a whole file.
    files:  of a list: their names below `path`. They are not in `job.json`; `sha256` stands for them.
    bytes:  of the file, of these rows, or of these files together.
    sha256: of the file or of these rows; for files, of their names and sizes. Empty until `hashing`.
    """

    name: str
    kind: Kind
    path: str
    start: int = 0
    stop: int | None = None
    files: tuple[str, ...] = field(default=(), repr=False)
    bytes: int = 0
    sha256: str = ""


def find_shards(given: Sequence[str], images_per_shard: int = IMAGES_PER_SHARD) -> list[Shard]:
    """The shards of what was given, in order: paths, URLs, and patterns.

    images_per_shard: how many images of an array or a list make one shard.
    Raises DataError: something does not exist, is none of the kinds above, or has no images.
    """
    if images_per_shard < 1:
        raise DataError(f"A shard of {images_per_shard} images is not possible. Use 1 or more.")
    paths = [name for pattern in given for name in expand_pattern(pattern)]
    found = [(path, shard) for path in paths for shard in _shards_of(path, images_per_shard)]
    if not found:
        raise DataError(f"There are no shards. Give {_KNOWN}.")
    digits = max(5, len(str(len(found) - 1)))  # so that the order of names is that of the shards
    return [replace(shard, name=f"{i:0{digits}}-{_stem(path)}") for i, (path, shard) in enumerate(found)]


@contextmanager
def hashing(shards: Sequence[Shard]) -> Iterator[Iterator[Shard]]:
    """Read all files in the background, as many at a time as there are cores; yields the shards with their `sha256`.

    Leaving the block ends the reading. The iterator raises DataError: a file cannot be read.
    """
    pool = ThreadPoolExecutor(usable_cores())  # hashing releases the interpreter lock
    try:
        digests = pool.map(shard_hash, shards)
        yield (replace(shard, sha256=digest) for shard, digest in zip(shards, digests, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def shard_hash(shard: Shard) -> str:
    """The `sha256` of a shard, computed. Raises DataError: it cannot be read."""
    digest = hashlib.sha256()
    if shard.kind == "files":
        for name in shard.files:
            digest.update(f"{_size_or_none(file_path(shard, name))} {name}\n".encode("utf-8", "backslashreplace"))
    elif shard.kind == "rows":
        digest.update(open_rows(shard.path)[shard.start : shard.stop].data)
    else:
        with open_file(shard.path) as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def check_unchanged(shard: Shard) -> None:
    """Raises DataError: the shard has changed since its job was begun, or cannot be read."""
    if shard_hash(shard) != shard.sha256:
        raise DataError(
            f"{shard.path} has changed since the job was begun: its SHA-256 is another one.\n"
            "Put the file back, or start a new job with another --out."
        )


def with_files(shard: Shard) -> Shard:
    """A shard out of `job.json`; one of a list of files gets their names again.

    Raises DataError: the folder or the list does not exist.
    """
    if shard.kind != "files":
        return shard
    folder = Path(shard.path)
    names = [file.name for file in scan_pictures(folder)] if folder.is_dir() else _listed(shard.path)
    return replace(shard, files=tuple(names[shard.start : shard.stop]))


def file_path(shard: Shard, name: str) -> str:
    """The path or URL of a file of a list."""
    return name if is_url(name) else os.path.join(_list_folder(shard.path), name)


def _list_folder(path: str) -> str:
    return os.path.dirname(path) if path.endswith(".txt") else path


def _shards_of(path: str, images_per_shard: int) -> Iterator[Shard]:
    """The shards of one path, yet without names."""
    kind = next((kind for ending, kind in _ENDINGS.items() if path.lower().endswith(ending)), None)
    if not is_url(path) and Path(path).is_dir():
        found = scan_pictures(Path(path))
        if not found:
            raise DataError(f"{path} has no pictures. Give {_KNOWN}.")
        yield from _lists(path, [file.name for file in found], [file.bytes for file in found], images_per_shard)
    elif kind == "files":
        names = _listed(path)
        sizes = [_size_or_none(name if is_url(name) else os.path.join(_list_folder(path), name)) or 0 for name in names]
        yield from _lists(path, names, sizes, images_per_shard)
    elif kind is not None:
        yield Shard("", kind, path, bytes=file_size(path))
    elif is_row_file(path):
        rows = open_rows(path)
        for start in range(0, len(rows), images_per_shard):
            part = rows[start : start + images_per_shard]
            yield Shard("", "rows", path, start, start + len(part), bytes=part.nbytes)
    elif not is_url(path) and not Path(path).exists():
        raise DataError(f"{path} does not exist.")
    else:
        raise DataError(f"{path} is no shard. Give {_KNOWN}.")


def _lists(path: str, names: list[str], sizes: list[int], images_per_shard: int) -> Iterator[Shard]:
    for start in range(0, len(names), images_per_shard):
        stop = min(start + images_per_shard, len(names))
        yield Shard("", "files", path, start, stop, tuple(names[start:stop]), sum(sizes[start:stop]))


def _listed(path: str) -> list[str]:
    """The names in a list of files, one a line; empty lines do not count."""
    with open_file(path) as file:
        try:
            text = file.read().decode()
        except UnicodeDecodeError:
            raise DataError(f"{path} is no list of files: it is not UTF-8 text.") from None
    names = [name for line in text.split("\n") if (name := line.rstrip("\r")).strip()]
    if not names:
        raise DataError(f"{path} lists no files. Write one path a line.")
    return names


def _size_or_none(path: str) -> int | None:
    """The size of a picture file; None if there is no such file, which is an error of its row and not of the job."""
    try:
        return file_size(path)
    except DataError:
        return None


def _stem(path: str) -> str:
    """The last part of a path without its ending, as part of a file name: other characters become `_`."""
    name = PurePosixPath(path.replace("\\", "/").split("?")[0]).name
    for ending in (*sorted(_ENDINGS, key=len, reverse=True), ".npy", ".gz"):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return kept[:80] or "shard"
