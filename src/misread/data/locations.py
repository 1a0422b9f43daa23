"""Files on a local disk, or wherever fsspec reaches by a URL, and which of them are shards by their names."""

import os
from typing import Any, BinaryIO, NamedTuple

from misread.errors import DataError

TARS, PARQUETS = (".tar", ".tar.gz", ".tgz"), (".parquet",)  # endings of shards


class FileState(NamedTuple):
    """What changes when a file changes: its size, its times in ns (0 of a URL), and what a server says of it."""

    bytes: int
    mtime_ns: int = 0
    ctime_ns: int = 0
    server: str = ""


def is_url(path: str) -> bool:
    return "://" in path


def is_shard_name(name: str) -> bool:
    """Whether a path, a URL or a pattern of them ends like a tar or Parquet file."""
    return name.lower().endswith((*TARS, *PARQUETS))


def open_file(path: str) -> BinaryIO:
    """A file, opened for reading; one of a URL can be read from any position if its server can do that.

    Raises DataError: it does not exist, cannot be read, or no installed package reads such a URL.
    """
    try:
        if is_url(path):
            system, name = _file_system(path)
            return system.open(name, "rb")
        return open(path, "rb")
    except OSError as error:
        raise _unreadable(path, error) from None


def file_size(path: str) -> int:
    """In bytes; 0 if a server does not say. Raises DataError: as `open_file`."""
    try:
        if is_url(path):
            system, name = _file_system(path)
            return system.size(name) or 0
        return os.stat(path).st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def file_state(path: str) -> FileState:
    """The state of a file now. Raises DataError: as `open_file`."""
    if is_url(path):
        size = file_size(path)
        system, name = _file_system(path)
        return FileState(size, server=system.ukey(name))
    try:
        state = os.stat(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    return FileState(state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _file_system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url} cannot be opened: {error}.") from None


def _unreadable(path: str, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} does not exist.")
    return DataError(f"{path} cannot be read: {error.strerror or error}.")
