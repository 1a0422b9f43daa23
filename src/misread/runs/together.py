"""A training of several ranks: what all of them check before it begins, and what the ranks beside the first do."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch

from misread.errors import RecipeError
from misread.runs.interruptible import computing, interruptible
from misread.runs.prepare import Job, prepare
from misread.runs.resume import find_training, read_start, reopen_job, resumed_state
from misread.training.callbacks import StopWhen, drive, recipe_callbacks
from misread.training.fit import fit_members
from misread.training.ranks import StopTogether, current_ranks
from misread.training.session import TrainState
from misread.version import __version__


def agree(job: Job, state: TrainState) -> None:
    """Check that all ranks begin the same training. Without several ranks nothing is checked.

    Raises RecipeError: they differ, one of them failed, or several ranks cannot train this recipe.
    """
    ranks = current_ranks()
    if ranks is None:
        return
    if job.recipe.seconds is not None:
        raise RecipeError("Ranks cannot train by seconds, because their clocks differ. Use epochs.")
    if job.recipe.backbone is not None:
        raise RecipeError("Several ranks cannot train on a backbone. Train with one process, without torchrun.")
    engine = asdict(job.backend(state.member, state.seed).capabilities)
    ranks.agree({
        "data": job.data.fingerprint,
        "recipe": job.recipe.to_toml(),
        "label patch": job.fixed.patch.sha256 if job.fixed else "",
        "checkpoint": str(state.position),
        "version": f"misread {__version__}, torch {torch.__version__}, numpy {numpy.__version__}",
        "precision": f"{engine['precision']} on {job.device.type}",
    })  # fmt: skip


def stop_when(should_stop: Callable[[], bool]) -> StopWhen:
    """Interrupts the training when `should_stop()` is true: with several ranks, on any of them."""
    ranks, alone = current_ranks(), StopWhen(should_stop)
    return alone if ranks is None else StopTogether(ranks, alone)


def follow(data: Any, recipe: Any, *, threads: int | None = None, **arguments: Any) -> None:
    """The part of `train` of a rank beside the first, which writes the run. arguments: those of `prepare`."""
    with computing(threads):
        job = prepare(data, recipe, **arguments)
        _follow(job, TrainState(job.recipe.member_seed(0)))


def follow_resumed(folder: Path, threads: int | None, anyway: bool) -> None:
    """The part of `resume` of a rank beside the first. It reads the folder of the first, which must be in its reach."""
    found = find_training(folder)
    start = read_start(found)
    with computing(threads or start.environment.threads):
        job = reopen_job(found, start, None, None)
        _follow(job, resumed_state(found, start, job, anyway))


def _follow(job: Job, state: TrainState) -> None:
    agree(job, state)
    train, val = job.examples()
    with interruptible() as interrupt:
        events = fit_members(job.backend, job.recipe, train, val, state)
        drive(events, state, [*recipe_callbacks(job.recipe), stop_when(interrupt.is_set)])
