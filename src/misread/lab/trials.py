"""The trials of a sweep: trainings that are scored on the validation images, in one process or in several."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import TrialState

from misread.data.image_set import ImageSet
from misread.data.load import load
from misread.errors import MisreadError, RecipeError, RunError, TrainingError
from misread.lab.search_space import SearchSpace
from misread.runs.prepare import prepare
from misread.training.callbacks import Callback, drive, recipe_callbacks
from misread.training.device import using_threads
from misread.training.events import EpochEnded
from misread.training.fit import fit
from misread.training.recipe import Recipe
from misread.training.session import TrainState

STUDY = "sweep"
PRUNED = "pruned"
STARTUP_TRIALS = 5  # complete trials before the first one is pruned
POLL_SECONDS = 0.5
ERROR = "error"  # the attribute of a failed trial; a trial that was killed has none


@dataclass(frozen=True)
class Work:
    """What a process needs to carry out trials.

    data: an image set, or what `load` takes; other processes load it themselves.
    until: the time of `time.time` from which no new trial begins.
    """

    data: ImageSet | str
    space: SearchSpace
    journal: Path
    device: str
    threads: int
    until: float


class Prune(Callback):
    """Reports the validation accuracy of each epoch, and stops a trial that is below the median of the others."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial

    def on_epoch_end(self, event: EpochEnded) -> None:
        epoch = event.row["epoch"]
        self.trial.report(event.row["val_accuracy"], epoch)
        if epoch < event.epochs and self.trial.should_prune():
            event.state.stop(PRUNED)


def open_study(journal: Path, seed: int = 0) -> optuna.Study:
    """The study in this journal; a new one if there is none. seed: of the draws of this process.

    Raises RunError: the journal is damaged. Raises OSError: it cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
            study_name=STUDY,
            direction="maximize",
            load_if_exists=True,
        )
    except OSError:
        raise
    except Exception as error:  # a damaged line can raise anything in Optuna
        raise RunError(f"{journal} is damaged: {error}. Remove {journal.parent}, or use another --out.") from None


def drop_incomplete_line(journal: Path) -> None:
    """Remove the part of a line that a full disk left at the end. Optuna would append to it and then read neither.

    Raises OSError: the journal cannot be written.
    """
    if not _is_incomplete(journal):
        return
    lock = JournalFileSymlinkLock(str(journal))  # a process of a killed sweep may still be ending its trial
    lock.acquire()
    try:
        if _is_incomplete(journal):
            with journal.open("r+b") as file:
                file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _is_incomplete(journal: Path) -> bool:
    return journal.is_file() and journal.read_bytes()[-1:] not in (b"", b"\n")


def repeat_killed_trials(study: optuna.Study) -> None:
    """Queue the trials that a killed process left unfinished again, with the same values."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # a process of the killed sweep has just ended it
        if trial.params:
            study.enqueue_trial(trial.params)


def run_trials(work: Work, count: int, workers: int, progress: Callable[[int], None]) -> None:
    """Carry out `count` trials. progress: called with the number of trials that have begun.

    Raises the errors of `prepare`; trials whose loss is not finite fail, and the sweep goes on. Raises OSError: the
    journal cannot be written.
    """
    context = multiprocessing.get_context("spawn")
    left = context.Value("q", count)
    if workers == 1:
        _share(left)
        _work(work, 0, lambda: progress(count - left.value))
        return
    errors = context.SimpleQueue()
    processes = [context.Process(target=_in_process, args=(work, n, left, errors), daemon=True) for n in range(workers)]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes) and errors.empty():
            progress(count - left.value)
            time.sleep(POLL_SECONDS)
    finally:
        left.value = 0  # the others finish their trial and begin no other
    for process in processes:
        process.join()
    if not errors.empty():
        raise errors.get()
    if any(process.exitcode for process in processes):
        raise RunError("A process of the sweep was ended from outside. Is there enough memory? Use fewer --workers.")


def _in_process(work: Work, number: int, left: Any, errors: Any) -> None:
    _share(left)
    try:
        _work(work, number)
    except (MisreadError, OSError) as error:
        errors.put(error)


_left: Any = None  # in each process: the number of trials that nobody has begun


def _share(left: Any) -> None:
    global _left
    _left = left


def _take() -> bool:
    """Whether a trial was left, which is now the caller's. None is left for a process whose parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        return False
    with _left.get_lock():
        if _left.value == 0:
            return False
        _left.value -= 1
        return True


def _work(work: Work, number: int, begun: Callable[[], None] = lambda: None) -> None:
    """Carry out trials until none is left."""
    images = work.data if isinstance(work.data, ImageSet) else load(work.data, progress=None)
    study = open_study(work.journal, seed=number)
    while time.time() < work.until and _take():
        begun()
        trial = study.ask()
        values = work.space.draw(trial)
        try:
            score, state = score_on_validation(
                images, work.space.with_values(values), work.device, work.threads, [Prune(trial)]
            )
        except TrainingError as error:
            trial.set_user_attr(ERROR, str(error))
            study.tell(trial, state=TrialState.FAIL)
            continue
        except RecipeError as error:
            study.tell(trial, state=TrialState.FAIL)
            raise RecipeError(f"Trial {trial.number} cannot be trained: {error}") from None
        trial.set_user_attr("fit_seconds", state.clock.fit_seconds)
        trial.set_user_attr("epochs", len(state.history))
        if state.stopped == PRUNED:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score)


def score_on_validation(
    images: ImageSet, recipe: Recipe, device: str, threads: int, callbacks: list[Callback]
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
