"""Progress of reading many pictures: a bar on a terminal, else a line every few seconds."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

Lines = Callable[[str], None]  # called with a line of text

QUIET_SECONDS = 1.0  # shorter work shows no progress
LINE_SECONDS = 3.0
BAR_SECONDS = 0.1


def ignore(line: str) -> None:
    """Discard a line."""


def to_stderr(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{line}\n")


class CountProgress:
    """Shows how many of a number of pictures are done. Use it in a `with` block.

    unit: what is counted, if not pictures.
    lines: called with lines of text. If standard error is a terminal, a bar there replaces them. None shows nothing.
    """

    def __init__(self, what: str, total: int, lines: Lines | None, unit: str = "pictures") -> None:
        self.what, self.total, self.lines, self.unit = what, total, lines, unit
        self._next = time.monotonic() + QUIET_SECONDS
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int) -> None:
        """Show that `done` pictures are done. It may be called often; most calls show nothing."""
        now = time.monotonic()
        if self.lines is None or now < self._next:
            return
        if self._bar is not None or sys.stderr.isatty():  # the bar replaces sys.stderr, in old rich by no terminal
            self._next = now + BAR_SECONDS
            self._draw(done)
        else:
            self._next = now + LINE_SECONDS
            self.lines(f"{self.what}: {done:,} of {self.total:,} {self.unit}")

    def _draw(self, done: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
                TextColumn("{task.completed:,}/{task.total:,}"), TimeRemainingColumn(compact=True),
                console=Console(stderr=True), transient=True, auto_refresh=False,
            )  # fmt: skip
            self._bar.add_task(self.what, total=self.total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, refresh=True)
