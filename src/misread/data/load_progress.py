"""How far the reading of many pictures is: a bar on a terminal, else a line from time to time."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

Lines = Callable[[str], None]  # told a line of text

QUIET_SECONDS = 1.0  # work that takes less shows nothing
LINE_SECONDS = 3.0
BAR_SECONDS = 0.1


def ignore(line: str) -> None:
    """Nothing: for those who want no lines."""


def to_stderr(line: str) -> None:
    """A place for lines, where the caller has none of its own."""
    sys.stderr.write(f"{line}\n")


class CountProgress:
    """A count of pictures on its way to a total. Use it in a `with` block.

    lines: where lines go. Where standard error is a terminal a bar is drawn there instead; None shows nothing.
    """

    def __init__(self, what: str, total: int, lines: Lines | None) -> None:
        self.what, self.total, self.lines = what, total, lines
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
        """Say that `done` of the total are done. It may be called often: most calls show nothing."""
        now = time.monotonic()
        if self.lines is None or now < self._next:
            return
        if sys.stderr.isatty():
            self._next = now + BAR_SECONDS
            self._draw(done)
        else:
            self._next = now + LINE_SECONDS
            self.lines(f"{self.what}: {done:,} of {self.total:,} pictures")

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
