"""Trains the members of an ensemble in several processes at the same time."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from misread.data.image_set import ImageSet
from misread.data.label_patch import LabelPatch
from misread.errors import RecipeError
from misread.runs.interruptible import computing
from misread.runs.prepare import Job, prepare
from misread.runs.progress import Progress
from misread.training.callbacks import Callback, drive
from misread.training.checkpoints import Checkpoints, write_checkpoint
from misread.training.fit import fit
from misread.training.member_checkpoints import join_members, member_folder, part_members, read_member
from misread.training.ranks import current_ranks
from misread.training.recipe import Recipe
from misread.training.session import RateChange, TrainState
from misread.training.worker_progress import ReportSteps, refuse_callbacks, training_need
from misread.workers import Cluster, Report, TaskDone, run_tasks


@dataclass(frozen=True)
class MemberTrainings:
    """What the trainings of members have in common. recipe: resolved, of the ensemble. threads: of each process.

    checkpoints: the folder for those of the ensemble; it gets a folder for each member.
    """

    data: ImageSet
    recipe: Recipe
    patch: LabelPatch | None
    device: str
    threads: int
    checkpoints: Path
    rate_changes: Sequence[RateChange]

    @cached_property
    def job(self) -> Job:
        """One for all members that a process trains."""
        return prepare(self.data, self.recipe, label_patch=self.patch, device=self.device)

    def train(self, member: int, report: Report) -> tuple[int, int, int]:
        """Train a member, or go on with its last checkpoint, until its folder has its final weights.

        Returns the position where this training began.
        """
        folder = member_folder(self.checkpoints, member)
        state = read_member(self.checkpoints, self.recipe, member)
        state.rate_changes = list(self.rate_changes)
        begun = state.position
        if state.finished:
            return begun
        with computing(self.threads):
            started = time.perf_counter()
            train, val = self.job.examples()
            backend = self.job.backend(member, state.seed)
            state.clock.fit_seconds += time.perf_counter() - started
            alone = self.recipe.model_copy(update={"members": 1})  # so that its epochs are counted, not all
            checkpoints = Checkpoints(folder, self.job.weight_bytes // self.recipe.members)
            drive(fit(backend, alone, train, val, state), state, [ReportSteps(report), checkpoints])
        state.backend = {}  # a complete member needs its final weights only
        write_checkpoint(folder, state)
        return begun


def check_workers(recipe: Recipe, workers: int | Cluster, callbacks: Sequence[Callback]) -> None:
    """Raises RecipeError: several workers, or the machines of a cluster, cannot share this training."""
    if workers == 1:
        return
    if recipe.members == 1:
        who = "a cluster cannot share. Train it without"
        if isinstance(workers, int):
            who = f"{workers} workers cannot share. Use 1 worker"
        raise RecipeError(
            f"The recipe {recipe.name!r} trains a single network, which {who}. "
            "Several networks are trained by --seeds, and by a recipe with several members."
        )
    if current_ranks() is not None:
        raise RecipeError(
            "Workers and clusters belong to one process. Use 1 worker under torchrun, or train without it."
        )
    refuse_callbacks(callbacks)


def train_members(
    job: Job, state: TrainState, checkpoints: Path, workers: int | Cluster, display: Progress
) -> tuple[TrainState, int]:
    """Train the members that the state lacks.

    Returns the state that `fit_members` reaches, but for its seconds, and how many workers there were.

    Each process computes with this one's number of torch's threads. The seconds of all members are added up.
    checkpoints: the folder for those of the ensemble. After Ctrl-C or an error it has those of all members.
    Raises the errors of `fit`, and TaskFailed if the process of a worker died in each attempt.
    """
    part_members(state, checkpoints)
    patch = job.fixed.patch if job.fixed else None
    trainings = MemberTrainings(
        job.data, job.recipe, patch, job.device.type, torch.get_num_threads(), checkpoints, state.rate_changes
    )
    need = training_need(trainings.threads, job.device, checkpoints)
    members, used = range(len(state.finished), job.recipe.members), 1
    try:
        with closing(run_tasks(trainings.train, members, workers, need)) as events:
            for event in events:
                used = max(used, event.worker + 1)
                member = members[event.index]
                if not isinstance(event, TaskDone):
                    display.on_worker(event.worker, f"member {member + 1}", event.value)
                    continue
                if event.error:
                    raise event.error
                if event.attempts > 1:
                    state.interruptions.append(_interruption(event.result))
                own = read_member(checkpoints, job.recipe, member)
                display.on_member_end(member, job.recipe.members, own)
    finally:
        display.on_workers_end()
    return join_members(state, checkpoints, job.recipe), workers if isinstance(workers, int) else used


def _interruption(position: tuple[int, int, int]) -> dict[str, object]:
    member, epoch, step = position
    return {"member": member, "epoch": epoch, "step": step, "exact": True, "reason": ""}
