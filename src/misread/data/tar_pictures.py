"""The pictures of a tar file in the form of WebDataset."""

import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from misread.data.locations import open_file
from misread.data.picture import decode_picture
from misread.data.picture_files import is_picture_name
from misread.data.shard_pictures import Picture, class_of
from misread.errors import DataError

LARGEST_FILE = 2**28  # bytes of one encoded picture

# behind the name: three numbers, the size, the time, the checksum, and the kind of a plain file; then the names of a
# user and a group, two numbers more, and no beginning of a longer name
_PLAIN = re.compile(
    rb"(?:[0-7]{7}\0|[0-7]{6} \0){3}([0-7]{11})[\0 ][0-7]{11}[\0 ]([0-7]{6})\0 0"
    rb"(?s:.{172})(?:\0{8}|[0-7]{7}\0|[0-7]{6} \0){2}\0(?s:.{166})"
)


def tar_pictures(path: str, class_names: Sequence[str]) -> Iterator[Picture]:
    """The samples of a WebDataset tar file: consecutive files whose names are equal up to the first dot.

    The picture is the first file with a picture's ending; the label is the text of the `.cls` file.
    Raises DataError: the file is damaged.
    """
    with open_file(path) as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*", tarinfo=_Member) as tar:
                yield from _samples(tar, class_names)
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}. Make it again.") from None


class _Member(tarfile.TarInfo):
    """A file of a tar file. `tarfile` takes a damaged header behind the first for the end, and loses what follows."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str | None, errors: str) -> Self:  # type: ignore[override]
        """Read the header of a plain file, and leave all others to `tarfile`, which takes far longer."""
        found = _PLAIN.fullmatch(buf, 100)
        if found is None or _checksum(buf) != int(found[2], 8):
            return super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        member = cls(buf[:100].partition(b"\0")[0].decode(encoding or "utf-8", errors))
        member.size = int(found[1], 8)
        return member

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(str(error)) from None


def _checksum(header: bytes) -> int:
    """The sum of a header's bytes, those of the checksum itself taken for spaces."""
    return sum(header.translate(None, b"\0")) - sum(header[148:156]) + 8 * ord(" ")


def _samples(tar: tarfile.TarFile, class_names: Sequence[str]) -> Iterator[Picture]:
    key, parts = None, dict[str, bytes | str]()
    for member in tar:
        folder, name = os.path.split(member.name)
        if not member.isfile() or name.startswith((".", "__")):
            continue
        stem, _, ending = name.partition(".")
        if (found := os.path.join(folder, stem)) != key:
            if key is not None:
                yield _sample(key, parts, class_names)
            key, parts = found, {}
        if is_picture_name(f".{ending}") or ending.lower() == "cls":
            parts[f".{ending.lower()}"] = _contents(tar, member)
    if key is not None:
        yield _sample(key, parts, class_names)


def _contents(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    """The bytes of a file in a tar file; or why it is not read."""
    if member.size > LARGEST_FILE:
        return f"{member.name} has {member.size:,} bytes, more than the {LARGEST_FILE:,} that a picture may have."
    if member.issparse():
        file = tar.extractfile(member)
        contents = b"" if file is None else file.read()
    else:  # as `extractfile` gives them, which takes far longer; with what they are filled up to whole blocks by
        whole = tar.fileobj.read(member.size + -member.size % tarfile.BLOCKSIZE)
        contents = whole[: member.size]
    if len(contents) < member.size:
        raise tarfile.ReadError(f"it ends inside {member.name}")
    return contents


def _sample(key: str, parts: dict[str, bytes | str], class_names: Sequence[str]) -> Picture:
    label = parts.pop(".cls", None)
    text = label.decode("utf-8", "replace").strip() if isinstance(label, bytes) else None
    ending, contents = next(iter(parts.items()), ("", "has no picture"))
    return Picture(key, class_of(text, class_names), lambda: _decoded(key + ending, contents))


def _decoded(name: str, contents: bytes | str) -> np.ndarray:
    if isinstance(contents, str):
        raise DataError(f"{name} {contents}." if contents == "has no picture" else contents)
    return decode_picture(io.BytesIO(contents), name)
