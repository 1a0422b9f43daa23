"""Shows the trainings of several processes in one table, a row for each process."""

from typing import TYPE_CHECKING, Any

from misread.training.worker_progress import TrainingProgress

if TYPE_CHECKING:
    from rich.console import Console

HEADER = ("worker", "training", "epoch", "step", "accuracy", "loss")


class WorkerTable:
    """A table below the lines of a console that is a terminal; elsewhere nothing is shown.

    It appears with the first row. Call `close` at the end, also after an error: that restores the cursor.
    """

    def __init__(self, console: "Console") -> None:
        self.console = console
        self.rows: dict[int, tuple[str, ...]] = {}
        self._live: Any = None

    def update(self, worker: int, training: str, now: TrainingProgress) -> None:
        """The row of a worker, counted from 0. training: its name."""
        if not self.console.is_terminal or self.console.quiet:
            return
        self.rows[worker] = (
            str(worker + 1), training, f"{now.epoch}/{now.epochs}", f"{now.step}/{now.steps}", f"{now.accuracy:.4f}",
            f"{now.loss:.4f}",
        )  # fmt: skip
        if self._live is None:
            from rich.live import Live

            self._live = Live(console=self.console, transient=True, auto_refresh=False)
            self._live.start()
        self._live.update(self._drawn(), refresh=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self.rows.clear()

    def _drawn(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in HEADER:
            table.add_column(name, justify="left" if name == "training" else "right", no_wrap=True)
        for worker in sorted(self.rows):
            table.add_row(*self.rows[worker])
        return table
