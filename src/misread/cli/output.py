"""Printing: tables and lines for people, JSON for scripts."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misread.errors import RunError
from misread.files import replacing

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Any) -> None:
    """One JSON document to stdout. NaN and infinity, which JSON has not, never get here."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def print_lines(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def warn(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"{line}\n")


def console(json_asked: bool = False) -> "Console":
    """Where progress goes: stdout, or stderr when stdout carries JSON."""
    from rich.console import Console

    return Console(stderr=json_asked)


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> None:
    """Columns aligned, never cut: a name that a script or a person has to copy stays whole.

    right: the columns that are numbers.
    """
    cells = [list(header), *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        line = "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        sys.stdout.write(line.rstrip() + "\n")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file, which takes its name when it is whole. Raises RunError: it cannot be written."""
    try:
        with replacing(path) as partial:
            write(partial)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}.") from None


def check_picture_name(path: Path | None) -> None:
    """Raises RunError: the file of a picture is named as something else; said before any work is done."""
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise RunError(f"{path}: a picture is written as .png or .svg.")


def check_page_name(path: Path | None) -> None:
    """Raises RunError: the file of a page is named as something else; said before any work is done."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"{path}: a page is written as .html.")


def say_interval(low: float, high: float, decimals: int = 2) -> str:
    return f"{low:.{decimals}%} to {high:.{decimals}%}"
