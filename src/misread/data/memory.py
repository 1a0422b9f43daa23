"""The memory of this machine, with which sizes are compared before anything of that size is allocated."""

import os
from pathlib import Path

from misread.errors import DataError


def memory_bytes(root: Path = Path("/")) -> int | None:
    """The memory of the machine, or of the container if that is less; None if the system does not tell.

    root: the folder that holds `proc` and `sys`.
    """
    total = meminfo(root).get("MemTotal") or _physical_memory()
    return container_limit(root, total) or total


def check_fits(needed: int, what: str, advice: str) -> None:
    """Raises DataError: `what` needs more bytes than the memory of this machine. advice: what to do."""
    memory = memory_bytes()
    if memory is not None and needed > memory:
        raise DataError(
            f"{what} needs {size_text(needed)}, but this machine has {size_text(memory)} of memory.\n{advice}"
        )


def size_text(size: int) -> str:
    """A number of bytes in decimal units: `19.0 GB`. Exact for any integer."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            tenths = size * 10 // unit  # in integers, because a size from a file may be beyond any float
            return f"{tenths // 10:,}.{tenths % 10} {name}"
    return f"{size} bytes"


def meminfo(root: Path = Path("/")) -> dict[str, int]:
    """Bytes by name, from the kernel's table; empty on other systems than Linux."""
    rows = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def container_limit(root: Path, memory: int | None) -> int | None:
    """The memory that a container may use, from control groups of version 2, else of version 1; None without a limit.

    A limit above the machine's memory is none; version 1 writes a huge number where there is no limit.
    """
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _text(root / "sys/fs/cgroup" / name).strip()
        if text.isdecimal() and (memory is None or int(text) < memory):
            return int(text)
    return None


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
