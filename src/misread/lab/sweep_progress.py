"""Shows the progress of a sweep."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from misread.lab.search_space import Scalar
from misread.runs.worker_table import WorkerTable
from misread.training.worker_progress import TrainingProgress

if TYPE_CHECKING:
    from rich.console import Console


class SweepProgress:
    """A line for each trial that ends, and in a terminal a table of those that run, a row for each process."""

    def __init__(self, console: "Console") -> None:
        self.console, self.table = console, WorkerTable(console)

    def on_steps(self, worker: int, trial: int, now: TrainingProgress) -> None:
        """After some steps of a trial. worker: the number of its process, from 0."""
        self.table.update(worker, f"trial {trial}", now)

    def on_trial_end(self, trial: int, outcome: str, values: Mapping[str, Scalar]) -> None:
        text = f"trial {trial}: {outcome}, with {values_text(values)}"
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """At the end, also after an error."""
        self.table.close()


def values_text(values: Mapping[str, Scalar]) -> str:
    """The settings of a trial and their values, in one line."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items())


def pick_sweep_progress(quiet: bool = False, console: "Console | None" = None) -> SweepProgress:
    """The progress display of a sweep. console: for the output; standard output by default."""
    from rich.console import Console

    return SweepProgress(console or Console(file=sys.stdout, quiet=quiet))
