"""Printing: tables and text for people, JSON for scripts."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from misread.errors import RunError
from misread.files import replacing

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


def print_json(value: Any) -> None:
    """Print one JSON document to stdout. Raises ValueError: NaN or infinity, which are not valid JSON."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def print_lines(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def warn(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"{line}\n")


def console(for_json: bool = False) -> "Console":
    """The console for progress: stdout, or stderr if JSON goes to stdout."""
    from rich.console import Console

    return Console(stderr=for_json)


@contextmanager
def progress_bar(what: str, total: int | None, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows, on a terminal's standard error, how many of `total` are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, disable=quiet or not screen.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> None:
    """Print aligned columns. They are never truncated, so that names can be copied.

    right: the indices of right-aligned columns, which contain numbers.
    """
    cells = [list(header), *([str(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        line = "  ".join(
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        sys.stdout.write(line.rstrip() + "\n")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` write a file atomically. Raises RunError: it cannot be written."""
    try:
        with replacing(path) as partial:
            write(partial)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}. Choose another path.") from None


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV for a spreadsheet, atomically. Raises RunError: it cannot be written."""
    import pandas as pd

    cells = {  # numbers stay as they are: float32 has shorter texts than float64
        name: pd.Series([as_text(cell) if isinstance(cell, str) else cell for cell in table[name]], dtype=object)
        for name in table.columns
        if not pd.api.types.is_numeric_dtype(table[name])
    }
    text = table.reset_index(drop=True).assign(**cells)
    write_file(path, lambda partial: text.to_csv(partial, index=False, errors="backslashreplace"))


def as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: one that could begin a formula gets an apostrophe before it.

    Source: OWASP, "CSV Injection".
    """
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def check_picture_name(path: Path | None) -> None:
    """Check the name of a picture file before any work is done. Raises RunError: another suffix."""
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise RunError(f"{path} is not the name of a picture. Use the suffix .png or .svg.")


def check_page_name(path: Path | None) -> None:
    """Check the name of an HTML file before any work is done. Raises RunError: another suffix."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"{path} is not the name of a page. Use the suffix .html.")


def check_language(language: str) -> None:
    """Check the language of a page before any work is done. Raises RunError: there are no texts in it."""
    from misread.messages import LANGUAGES

    if language not in LANGUAGES:
        raise RunError(f"There is no language {language!r}. Use one of {', '.join(LANGUAGES)}.")


def interval_text(low: float, high: float, decimals: int = 2) -> str:
    return f"{low:.{decimals}%} to {high:.{decimals}%}"
