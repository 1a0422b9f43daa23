"""Resumes a training: stores its initial conditions beside the checkpoints, and checks that they are unchanged."""

import time
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from misread import files
from misread.data.label_patch import read_patch
from misread.data.load import load
from misread.errors import RunError
from misread.runs.checksums import CHECKSUMS
from misread.runs.prepare import Job, as_image_set, prepare
from misread.runs.record import EngineRecord, StartRecord, this_environment
from misread.runs.run_folder import (
    CHECKPOINTS,
    LABEL_PATCH,
    PARTIAL,
    RECIPE,
    RECORD,
    START,
    is_resumable,
    read_record,
)
from misread.training.backend import Capabilities
from misread.training.checkpoints import find_checkpoints, read_checkpoint
from misread.training.member_checkpoints import join_members
from misread.training.ranks import current_ranks
from misread.training.recipe import Recipe, load_recipe, parse_recipe
from misread.training.session import TrainState

MACHINE = ("misread", "torch", "numpy", "cpu", "threads", "device")  # fields of Environment that influence rounding


def write_start(folder: Path, job: Job, engine: Capabilities, workers: int) -> None:
    """Write the initial conditions of a training, unless they exist. From then on it is resumable."""
    if is_resumable(folder):
        return
    (folder / CHECKPOINTS).mkdir(exist_ok=True)
    if job.fixed:
        files.write_bytes(folder / LABEL_PATCH, job.fixed.patch.contents)
    recipe = job.recipe.to_toml()
    files.write_text(folder / RECIPE, recipe)
    start = StartRecord(
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        name=job.data.name,
        source=job.data.source,
        size=job.data.size,
        fingerprint=job.data.fingerprint,
        recipe=recipe,
        recipe_choice=job.recipe_choice,
        label_patch=job.fixed.patch.sha256 if job.fixed else "",
        network=job.network_name,
        environment=this_environment(torch.get_num_threads(), str(job.device), workers),
        engine=EngineRecord(**asdict(engine)),
    )
    files.write_text(folder / CHECKPOINTS / START, files.sealed(start.model_dump(mode="json")))


def read_start(folder: Path) -> StartRecord:
    """The initial conditions of the training in a folder. Raises RunError: the file is damaged."""
    path = folder / CHECKPOINTS / START
    try:
        return StartRecord.model_validate(files.unsealed(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged, so the training cannot be resumed. Train again.\n{error}") from None


def find_training(folder: Path) -> Path:
    """The folder of a training that can be resumed: a partial one, or that of an interrupted run.

    folder: may lack the suffix of a partial folder.
    Raises RunError: there is no such training.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    if not folder.is_dir() and is_resumable(partial):
        return partial
    if folder.name.endswith(PARTIAL) and folder.is_dir():
        if is_resumable(folder):
            return folder
        raise RunError(f"{folder} has no checkpoints, so the training cannot be resumed. Train again.")
    record = read_record(folder)
    if record.status == "complete":
        raise RunError(f"The run in {folder} is complete; there is nothing to resume. To repeat it: misread reproduce.")
    if not is_resumable(folder):
        raise RunError(f"The run in {folder} was interrupted, but its checkpoints were removed. Train again.")
    return folder


def reopen(folder: Path) -> Path:
    """The partial folder of a training. The folder of an interrupted run is renamed: until complete it is no run."""
    if folder.name.endswith(PARTIAL):
        return folder
    partial = folder.rename(folder.with_name(folder.name + PARTIAL))
    (partial / RECORD).unlink()
    (partial / CHECKSUMS).unlink(missing_ok=True)
    return partial


def reopen_job(folder: Path, start: StartRecord, data: Any, network: nn.Module | None) -> Job:
    """The original job. Raises RunError: the data, the recipe or the label patch has changed, or is missing."""
    if data is None and not start.source:
        raise RunError(
            f"The training in {folder} used arrays in memory. Resume it in Python with the same arrays: "
            "misread.resume(folder, data=...)."
        )
    if network is None and start.network != "recipe":
        raise RunError(
            f"The training in {folder} used a module from Python, {start.network}. Resume it in Python with a "
            "module of this class: misread.resume(folder, network=...)."
        )
    images = load(start.source, size=start.size) if data is None else as_image_set(data)
    if images.fingerprint != start.fingerprint:
        raise RunError(
            f"The data has changed since the training in {folder} began: the fingerprint of {images.name} is "
            f"{images.fingerprint[:12]}, not {start.fingerprint[:12]}. Restore it, or train again."
        )
    recipe = parse_recipe(tomllib.loads(start.recipe), str(folder / CHECKPOINTS / START))
    if not _is_recipe_of(folder / RECIPE, recipe, custom_network=network is not None):
        raise RunError(
            f"{folder / RECIPE} has changed since the training began. A training cannot change its recipe. Restore it, "
            "or train again."
        )
    patch = read_patch(folder / LABEL_PATCH) if start.label_patch else None
    if patch and patch.sha256 != start.label_patch:
        raise RunError(
            f"{folder / LABEL_PATCH} has changed since the training began. Restore this label patch, or train again."
        )
    job = prepare(images, recipe, network=network, label_patch=patch, device=start.environment.device)
    return replace(job, recipe_choice=start.recipe_choice)


def _is_recipe_of(path: Path, recipe: Recipe, custom_network: bool) -> bool:
    """Whether a recipe file has a training's recipe, or the one written with an interrupted run of it."""
    if not path.is_file():
        return True
    found = load_recipe(path)
    may_differ: dict[str, Any] = {"members": recipe.members} if found.members < recipe.members else {}
    may_differ |= {"layers": recipe.layers} if custom_network else {}
    return found.model_copy(update=may_differ) == recipe


def resumed_state(folder: Path, start: StartRecord, job: Job, anyway: bool) -> TrainState:
    """The state of the last checkpoints with this interruption added; a new state if there is no checkpoint yet.

    Raises RunError: this machine would round differently, and `anyway` is not set.
    """
    checkpoints = folder / CHECKPOINTS
    fresh = not find_checkpoints(checkpoints)
    state = TrainState(job.recipe.member_seed(0)) if fresh else read_checkpoint(checkpoints)
    state = join_members(state, checkpoints, job.recipe)
    _check_torchrun(folder, start)
    changes = _changes(start, job)
    if changes and not anyway:
        raise RunError(
            f"The training in {folder} cannot be resumed exactly: " + "; ".join(changes) + ".\n"
            "Undo these changes, or add --anyway. The result is then not exact, and the run records this."
        )
    if job.recipe.seconds is not None:
        changes.append("a training by seconds depends on the clock")
    ranks = this_environment(torch.get_num_threads(), str(job.device)).ranks
    if ranks != start.environment.ranks:  # always allowed: sums over other shares differ in rounding only
        changes.append(f"ranks was {start.environment.ranks}, now it is {ranks}")
    state.stopped = "" if state.is_interrupted else state.stopped
    position = {"member": state.member, "epoch": state.epoch, "step": state.step}
    state.interruptions.append({**position, "exact": not changes, "reason": "; ".join(changes)})
    return state


def _check_torchrun(folder: Path, start: StartRecord) -> None:
    """Raises RunError: several ranks began the training, whose optimizer state only the same backend can take over."""
    if start.environment.ranks > 1 and current_ranks() is None:
        raise RunError(
            f"The training in {folder} ran on {start.environment.ranks} ranks. Continue it under torchrun, with any "
            f"number of processes: torchrun --nproc-per-node 1 -m misread train --resume {folder}"
        )


def _changes(start: StartRecord, job: Job) -> list[str]:
    """Differences from the start of the training that influence rounding."""
    before, now = start.environment, this_environment(torch.get_num_threads(), str(job.device))
    changes = [
        f"{name} was {getattr(before, name)}, now it is {getattr(now, name)}"
        for name in MACHINE
        if getattr(before, name) != getattr(now, name)
    ]
    engine = job.backend(0, 0).capabilities
    for name in ("name", "build", "precision"):
        if getattr(engine, name) != getattr(start.engine, name):
            changes.append(
                f"the {name} of the backend was {getattr(start.engine, name)}, now it is {getattr(engine, name)}"
            )
    return changes
