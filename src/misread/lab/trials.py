"""The trials of a sweep: trainings that are scored on the validation images, in this process or in several."""

import hashlib
import json
import math
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from misread.data.image_set import ImageSet
from misread.errors import MisreadError, RecipeError, RunError, TrainingError
from misread.lab.search_space import Scalar, SearchSpace
from misread.lab.sweep_progress import SweepProgress
from misread.runs.prepare import prepare
from misread.training.callbacks import Callback, drive, recipe_callbacks
from misread.training.device import pick_device, using_threads
from misread.training.events import EpochEnded
from misread.training.fit import fit
from misread.training.recipe import Recipe
from misread.training.session import TrainState
from misread.training.worker_progress import ReportSteps, training_need
from misread.workers import Cluster, Report, TaskDone, run_tasks

STUDY = "sweep"
PRUNED = "pruned"
STARTUP_TRIALS = 5  # complete trials before the first one is pruned
CHECK, CHECK_DIGITS = "check", 8  # a key of a line of the journal, and the hex digits of its value
ERROR = "error"  # the attribute of a failed trial; a trial that was killed has none


@dataclass(frozen=True)
class TrialTask:
    """A trial to carry out. medians: of earlier trials, by epoch; see `Prune`."""

    number: int
    values: Mapping[str, Scalar]
    medians: Mapping[int, float]


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial: its validation accuracy if it is complete, or why it failed, or else it was pruned.

    accuracies: on the validation images, after each epoch.
    """

    number: int
    score: float | None = None
    error: MisreadError | None = None
    accuracies: tuple[float, ...] = ()
    fit_seconds: float = 0.0

    def __str__(self) -> str:
        if self.error is not None:
            return f"failed: {str(self.error).splitlines()[0]}"
        if self.score is None:
            return f"pruned in epoch {len(self.accuracies)}, with validation accuracy {self.accuracies[-1]:.2%}"
        return f"validation accuracy {self.score:.2%}, trained in {self.fit_seconds:.2f} s"


@dataclass(frozen=True)
class Trainings:
    """What the trainings of all trials have in common. threads: of each process; None for torch's own number."""

    data: ImageSet
    space: SearchSpace
    device: str
    threads: int | None

    def carry_out(self, task: TrialTask, report: Report) -> TrialResult:
        """Train and score. report: called with (number, `TrainingProgress`)."""
        callbacks = [Prune(task.medians), ReportSteps(lambda now: report((task.number, now)))]
        try:
            recipe = self.space.with_values(task.values)
            score, state = score_on_validation(self.data, recipe, self.device, self.threads, callbacks)
        except (TrainingError, RecipeError) as error:
            return TrialResult(task.number, error=error)
        accuracies = tuple(row["val_accuracy"] for row in state.history)
        complete = None if state.stopped == PRUNED else score
        return TrialResult(task.number, complete, None, accuracies, state.clock.fit_seconds)


class Prune(Callback):
    """Stops a trial whose best validation accuracy so far is below the median of earlier trials at the same epoch.

    medians: see `medians`; those of the time when the trial began.
    """

    def __init__(self, medians: Mapping[int, float]) -> None:
        self.medians, self.best = medians, -math.inf

    def on_epoch_end(self, event: EpochEnded) -> None:
        epoch = event.row["epoch"]
        self.best = max(self.best, event.row["val_accuracy"])
        if epoch < event.epochs and self.best < self.medians.get(epoch, -math.inf):
            event.state.stop(PRUNED)


def medians(study: optuna.Study) -> dict[int, float]:
    """The median validation accuracy of the complete trials after each epoch; nothing before `STARTUP_TRIALS` of them.

    Source: Optuna's MedianPruner, after Golovin et al. 2017 (doi 10.1145/3097983.3098043).
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < STARTUP_TRIALS:
        return {}
    by_epoch: dict[int, list[float]] = {}
    for trial in complete:
        for epoch, accuracy in trial.intermediate_values.items():
            by_epoch.setdefault(epoch, []).append(accuracy)
    return {epoch: float(np.median(accuracies)) for epoch, accuracies in by_epoch.items()}


class Journal(JournalFileBackend):
    """Optuna's journal with a check in each line, so that a damaged one is noticed. An older misread wrote none."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        super().append_logs([{**log, CHECK: _check(log)} for log in logs])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        for log in super().read_logs(log_number_from):
            yield _checked(log)


def _check(log: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(log).encode()).hexdigest()[:CHECK_DIGITS]


def _checked(log: dict[str, Any]) -> dict[str, Any]:
    """A line without its check. Raises ValueError: its values are not those that were written."""
    check = log.pop(CHECK, None)
    if check not in (None, _check(log)):
        raise ValueError(f"the check of a line is {check!r}, but that of its values is {_check(log)!r}")
    return log


def open_study(journal: Path) -> optuna.Study:
    """The study in this journal; a new one if there is none.

    Raises RunError: the journal is damaged. Raises OSError: it cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = JournalStorage(Journal(str(journal)))
        return optuna.create_study(storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True)
    except OSError:
        raise
    except Exception as error:  # a damaged line can raise anything in Optuna
        raise RunError(f"{journal} is damaged: {error}. Remove {journal.parent}, or use another --out.") from None


def drop_incomplete_line(journal: Path) -> None:
    """Remove the last line if it is not whole: a full disk left a part of it, or it is damaged.

    Optuna passes over such a line, but would append to it and then read neither. What it said is done again.
    Raises OSError: the journal cannot be written.
    """
    if not journal.is_file():
        return
    *_, last = journal.read_bytes().splitlines(keepends=True) or [b""]
    if last and not _is_whole(last):
        with journal.open("r+b") as file:
            file.truncate(journal.stat().st_size - len(last))


def _is_whole(line: bytes) -> bool:
    try:
        _checked(json.loads(line))
    except (ValueError, AttributeError):
        return False
    return line.endswith(b"\n")


def is_killed(trial: FrozenTrial) -> bool:
    """Whether a process died, or was interrupted, before the trial ended."""
    return trial.state == TrialState.FAIL and ERROR not in trial.user_attrs


def repeat_killed_trials(study: optuna.Study) -> None:
    """Queue the trials that a killed process left unfinished again, with the same values."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def run_trials(
    study: optuna.Study, trainings: Trainings, sampler: str, count: int, until: float, workers: int | Cluster,
    display: SweepProgress,
) -> None:  # fmt: skip
    """Carry out `count` trials.

    sampler: `tpe` or `random`. until: the time of `time.time` from which no new trial begins.
    Raises RecipeError: the values of a trial do not fit together. A trial whose loss is not finite fails, and the sweep
    goes on. Raises TaskFailed: the process of a worker died in each attempt. OSError: the journal cannot be written.
    """
    begun: dict[int, optuna.Trial] = {}

    def tasks() -> Iterator[TrialTask]:
        while len(begun) < count and time.time() < until:
            trial = _ask(study, sampler)
            begun[trial.number] = trial
            # a random trial must not depend on the others, which end in any order
            yield TrialTask(trial.number, trainings.space.draw(trial), {} if sampler == "random" else medians(study))

    try:
        with closing(_results(trainings, tasks(), workers, display)) as results:
            for result in results:
                _tell(study, begun[result.number], result)
                if isinstance(result.error, RecipeError):
                    raise RecipeError(f"Trial {result.number} cannot be trained: {result.error}")
                display.on_trial_end(result.number, str(result), begun[result.number].params)
    finally:
        display.close()


def _ask(study: optuna.Study, sampler: str) -> optuna.Trial:
    """The next trial: one that is queued, or a new one whose values are drawn by its position.

    So a continued sweep draws what an uninterrupted one would.
    """
    trials = study.get_trials(deepcopy=False)
    position = sum(not is_killed(trial) and trial.state != TrialState.WAITING for trial in trials)
    random = sampler == "random"
    study.sampler = (optuna.samplers.RandomSampler if random else optuna.samplers.TPESampler)(seed=position)
    return study.ask()


def _tell(study: optuna.Study, trial: optuna.Trial, result: TrialResult) -> None:
    for epoch, accuracy in enumerate(result.accuracies, 1):
        trial.report(accuracy, epoch)
    if result.error is not None:
        if isinstance(result.error, TrainingError):
            trial.set_user_attr(ERROR, str(result.error))
        study.tell(trial, state=TrialState.FAIL)
        return
    trial.set_user_attr("fit_seconds", result.fit_seconds)
    trial.set_user_attr("epochs", len(result.accuracies))
    if result.score is None:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, result.score)


def _results(
    trainings: Trainings, tasks: Iterable[TrialTask], workers: int | Cluster, display: SweepProgress
) -> Generator[TrialResult, None, None]:
    """The results of the tasks, as they come."""
    if workers == 1:
        for task in tasks:
            yield trainings.carry_out(task, lambda value: display.on_steps(0, *value))
        return
    need = training_need(trainings.threads or 1, pick_device(trainings.device))
    with closing(run_tasks(trainings.carry_out, tasks, workers, need)) as events:
        for event in events:
            if not isinstance(event, TaskDone):
                display.on_steps(event.worker, *event.value)
            elif event.error:
                raise event.error
            else:
                yield event.result


def score_on_validation(
    images: ImageSet, recipe: Recipe, device: str, threads: int | None, callbacks: list[Callback]
) -> tuple[float, TrainState]:
    """Train as `train` does, and return the validation accuracy of the final weights, and the state.

    The test images are not looked at, and nothing is written.
    """
    with using_threads(threads), torch.random.fork_rng(devices=[]):
        job = prepare(images, recipe, device=device)
        state = TrainState(job.recipe.member_seed(0))
        train, val = job.examples()
        events = fit(job.backend(0, state.seed), job.recipe, train, val, state)
        drive(events, state, [*recipe_callbacks(job.recipe), *callbacks])
    row = state.history[state.best.epoch - 1 if state.best else -1]
    return row["val_accuracy"], state
