"""Shows the progress of a training: in a terminal, in a notebook, as lines of text, or not at all."""

import html
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from misread.data.image_set import ImageSet
from misread.data.load_progress import Lines, to_stderr
from misread.models.summary import Summary
from misread.notebook import in_notebook
from misread.runs.prepare import TrainingSplits
from misread.runs.run import Run
from misread.runs.worker_table import WorkerTable
from misread.training.callbacks import Callback
from misread.training.cross_validation import FoldCallback, FoldDone
from misread.training.events import EpochEnded, StepsDone
from misread.training.recipe import Recipe
from misread.training.session import HistoryRow, TrainState
from misread.training.shuffle import in_windows
from misread.training.worker_progress import TrainingProgress

if TYPE_CHECKING:
    from rich.console import Console

WORTH_SAYING = 20.0  # seconds left


class Progress(Callback):
    """A callback that is also called before the training and with the finished run. This base class shows nothing.

    lines: called with lines about work before the training.
    """

    lines: Lines | None = None

    def started(self, data: ImageSet, recipe: Recipe, summary: Summary, splits: TrainingSplits) -> None:
        """Before the training."""

    def chosen(self, recipe: Recipe, why: str) -> None:
        """Before `started`, if misread chose the recipe. why: one sentence."""

    def finished(self, run: Run) -> None:
        """After the run folder was written."""

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        """After some steps of a training in another process. worker: its number, from 0. training: its name."""

    def on_member_end(self, member: int, members: int, state: TrainState) -> None:
        """After the training of a member in another process. member: counted from 0. state: of this member alone."""

    def on_workers_end(self) -> None:
        """After the last training of several processes, also if one ended with an error."""


def pick_progress(quiet: bool = False, console: "Console | None" = None) -> Progress:
    """The progress display for this environment. console: for the output; standard output by default."""
    if quiet:
        return Progress()
    if console is None and in_notebook():
        return NotebookProgress()
    from rich.console import Console

    return ConsoleProgress(console or Console(file=sys.stdout))


def headline(data: ImageSet, recipe: Recipe, splits: TrainingSplits) -> str:
    length = f"{recipe.epochs} epochs" if recipe.seconds is None else f"{recipe.seconds:g} seconds"
    epochs = length if recipe.members == 1 else f"{recipe.members} x {length}"
    windowed = in_windows(splits.train.images.nbytes, recipe.shuffle_window_mib)
    shuffled = f", shuffled in windows of {recipe.shuffle_window_mib:,} MiB" if windowed else ""
    return (
        f"{recipe.name} on {data.name}: {len(splits.train):,} training images, {len(splits.val):,} for validation "
        f"({splits.validation}); {epochs}, batches of {recipe.batch_size}{shuffled}, seed {recipe.seed}"
    )


def epoch_line(row: HistoryRow, epochs: int) -> str:
    width = len(str(epochs))
    line = (
        f"epoch {row['epoch']:>{width}}/{epochs}  {row['seconds']:6.2f} s  accuracy {row['accuracy']:.4f}  "
        f"loss {row['loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}  val_loss {row['val_loss']:.4f}"
    )
    if "val_top_k_accuracy" in row:
        line += f"  val_top_k_accuracy {row['val_top_k_accuracy']:.4f}"
    return line


def result_lines(run: Run) -> list[str]:
    """The result of a run in a few lines."""
    test, timing, record = run.metrics["test"], run.record.timing, run.record
    threads = record.environment.threads
    lines = []
    if record.status == "interrupted":
        lines.append(f"Interrupted after {record.epochs_trained} complete epochs, with the weights of that time.")
    if record.interruptions:
        times = "once" if len(record.interruptions) == 1 else f"{len(record.interruptions)} times"
        exact = all(interruption.exact for interruption in record.interruptions)
        lines.append(f"Interrupted and resumed {times}; the result is {'' if exact else 'not '}the same as without.")
    if record.rate_changes:
        times = "once" if len(record.rate_changes) == 1 else f"{len(record.rate_changes)} times"
        lines.append(f"The learning rate was changed {times} during the training; run.json has the steps and factors.")
    if record.best_epoch and record.best_epoch != record.epochs_trained:
        lines.append(f"The weights are from epoch {record.best_epoch}, the best on validation.")
    if record.target_reached is not None:
        lines.append(_target_line(run))
    on = f"{record.environment.device}, {threads} thread{'s' if threads > 1 else ''}"
    if record.environment.workers > 1:
        on += f" for each of {record.environment.workers} workers, whose times are added up"
    lines.append(
        f"Trained in {timing.fit_seconds:.2f} s (validation {timing.validate_seconds:.2f} s, total "
        f"{timing.total_seconds:.2f} s) on {on}"
    )
    lines.append(f"Test {accuracy_line(test)}")
    lines += run.predictions().accuracy_warnings()
    if "test_fixed" in run.metrics:
        lines.append(f"On the fixed labels: {accuracy_line(run.metrics['test_fixed'])}")
    lines += record.label_patch.notes if record.label_patch else ()
    lines.append(f"Run: {run.folder}")
    return lines


def accuracy_line(metrics: Mapping[str, float | int]) -> str:
    interval = f"{metrics['accuracy_low']:.2%} to {metrics['accuracy_high']:.2%}"
    misread = f"{metrics['misread']:,} of {metrics['n']:,} misread"
    return f"accuracy {metrics['accuracy']:.2%} (95% interval {interval}), loss {metrics['loss']:.4f}: {misread}"


def _target_line(run: Run) -> str:
    target, accuracies = run.recipe.target_accuracy, run.history["val_accuracy"]
    if run.record.target_reached:
        return f"Reached the target of {target:.2%} on validation in epoch {run.record.epochs_trained}."
    best = f" The best epoch had {accuracies.max():.2%}." if len(accuracies) else ""
    return f"The target of {target:.2%} on validation was not reached.{best}"


class ConsoleProgress(Progress):
    """A line for each epoch, and in a terminal a bar within the epoch."""

    lines = staticmethod(to_stderr)
    before_epoch = ""  # text before the epoch in the bar

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[state]}"), TimeRemainingColumn(compact=True),
            console=console, transient=True, auto_refresh=False, disable=not console.is_terminal,
        )  # fmt: skip
        self.task: Any = None
        self.table = WorkerTable(console)

    def print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def chosen(self, recipe: Recipe, why: str) -> None:
        self.print(f"Recipe: {recipe.name}. {why}")

    def started(self, data: ImageSet, recipe: Recipe, summary: Summary, splits: TrainingSplits) -> None:
        self.print(headline(data, recipe, splits))
        self.print(f"\n{summary}\n")

    def on_steps(self, event: StepsDone) -> None:
        if self.bar.disable:
            return
        if self.task is None:
            self.bar.start()
            self.task = self.bar.add_task("", total=event.steps, state="")
        self.bar.update(
            self.task, completed=event.step, refresh=True,
            description=f"{self.before_epoch}epoch {event.epoch}/{event.epochs}",
            state=f"accuracy {event.accuracy:.4f}  loss {event.loss:.4f}",
        )  # fmt: skip

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._hide()
        self.print(epoch_line(event.row, event.epochs))

    def on_end(self, state: TrainState) -> None:
        self._hide()  # also restores the cursor of the terminal

    def _hide(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.bar.stop()
            self.task = None

    def finished(self, run: Run) -> None:
        for line in result_lines(run):
            self.print(line)

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        self.table.update(worker, training, now)

    def on_member_end(self, member: int, members: int, state: TrainState) -> None:
        row = state.history[-1]
        self.print(f"member {member + 1}/{members}  {state.clock.fit_seconds:.2f} s  {epoch_line(row, row['epoch'])}")

    def on_workers_end(self) -> None:
        self.table.close()


class FoldProgress(ConsoleProgress, FoldCallback):
    """Progress of a cross-validation: a line for each network, and in a terminal a bar within the epoch.

    The trainings of several processes share a table instead, and their lines are numbered as they end.
    """

    number = trainings = 0
    seed = ""
    begun = 0.0  # monotonic seconds

    def begin(self, trainings: int, seed: int = 1, seeds: int | None = 1) -> None:
        """Before the first training of a seed.

        trainings: their number. seed: which one it is, from 1. seeds: their number; None if it is not known yet.
        """
        self.number, self.trainings, self.begun = 0, trainings, time.monotonic()
        self.seed = "" if seeds == 1 else f"seed {seed}, " if seeds is None else f"seed {seed}/{seeds}, "
        self._next()

    def on_epoch_end(self, event: EpochEnded) -> None:
        self._hide()

    def on_fold_end(self, fold: FoldDone) -> None:
        self.print(
            f"{self.before_epoch}{fold.n_train:,} images in {fold.fit_seconds:.2f} s: accuracy {fold.accuracy:.2%} on "
            f"{fold.n_held_out:,} held-out images{self._left()}"
        )
        self._next()

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        super().on_worker(worker, f"{self.seed}{training}", now)

    def _left(self) -> str:
        """How long the rest of this seed's trainings takes, if that is worth saying."""
        seconds = (time.monotonic() - self.begun) / self.number * (self.trainings - self.number)
        seed = self.seed and " of this seed"
        return f", about {timedelta(seconds=round(seconds))} left{seed}" if seconds >= WORTH_SAYING else ""

    def _next(self) -> None:
        self.number += 1
        self.before_epoch = f"{self.seed}training {self.number}/{self.trainings}, "


def pick_fold_progress(quiet: bool = False, console: "Console | None" = None) -> FoldProgress:
    """The progress display of a cross-validation. console: for the output; standard output by default."""
    from rich.console import Console

    return FoldProgress(console or Console(file=sys.stdout, quiet=quiet))


class NotebookProgress(Progress):
    """HTML below the cell that is updated: a bar, and a table with a row for each epoch."""

    lines = staticmethod(to_stderr)
    COLUMNS = ("epoch", "seconds", "accuracy", "loss", "val_accuracy", "val_loss")

    def __init__(self) -> None:
        self.head = ""
        self.rows: list[str] = []
        self.foot = ""
        self.handle: Any = None

    def chosen(self, recipe: Recipe, why: str) -> None:
        self.head = f"<p>{html.escape(f'Recipe: {recipe.name}. {why}')}</p>"

    def started(self, data: ImageSet, recipe: Recipe, summary: Summary, splits: TrainingSplits) -> None:
        title = html.escape(headline(data, recipe, splits))
        self.head += f"<p>{title}</p><pre>{html.escape(str(summary))}</pre>"
        self._update("")

    def on_steps(self, event: StepsDone) -> None:
        state = f"epoch {event.epoch}/{event.epochs}, accuracy {event.accuracy:.4f}, loss {event.loss:.4f}"
        self._update(f'<progress value="{event.step}" max="{event.steps}"></progress> {state}')

    def on_epoch_end(self, event: EpochEnded) -> None:
        cells = [f"{event.row['epoch']}/{event.epochs}", f"{event.row['seconds']:.2f}"]
        cells += [f"{event.row[c]:.4f}" for c in self.COLUMNS[2:]]  # type: ignore[literal-required]
        self.rows.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
        self._update("")

    def finished(self, run: Run) -> None:
        self.foot = "".join(f"<p>{html.escape(line)}</p>" for line in result_lines(run))
        self._update("")

    def _update(self, bar: str) -> None:
        from IPython.display import HTML, display

        header = "".join(f"<th>{c}</th>" for c in self.COLUMNS)
        table = f"<table><tr>{header}</tr>{''.join(self.rows)}</table>" if self.rows else ""
        content = HTML(self.head + table + bar + self.foot)
        if self.handle is None:
            self.handle = display(content, display_id=True)
        else:
            self.handle.update(content)
