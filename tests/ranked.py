"""Trainings of several ranks for tests: in processes of this module, and as commands."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from misread.training.backend import Backend
from misread.training.batches import Examples
from misread.training.events import StepsDone
from misread.training.fit import fit
from misread.training.networks import recipe_network
from misread.training.ranks import joined
from misread.training.ranks_backend import RanksBackend
from misread.training.recipe import Recipe
from misread.training.session import TrainState
from misread.training.torch_backend import TorchBackend
from misread.workers import Report, TaskDone, run_tasks
from samples import Result, blocks

CPU = torch.device("cpu")
IMAGES = 101  # in batches of 25 the last one has a single image, so one of two ranks has none


class Trained(NamedTuple):
    weights: dict[str, np.ndarray]
    losses: list[float]
    history: list[dict[str, float]]


class Task(NamedTuple):
    recipe: Recipe
    rank: int
    count: int
    port: int


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def variables(rank: int, count: int, port: int) -> dict[str, str]:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    return {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in names.items()}}


def alone(recipe: Recipe) -> Trained:
    """By one process, with PyTorch and without ranks."""
    network = _network(recipe)
    return _trained(TorchBackend(network, CPU, recipe, recipe.seed), recipe)


def together(recipe: Recipe, count: int) -> list[Trained]:
    """By several processes: what each of them has at the end."""
    port = free_port()
    tasks = [Task(recipe, rank, count, port) for rank in range(count)]
    ends = {}
    with closing(run_tasks(one_rank, tasks, count, attempts=1, pin=False)) as events:
        for event in events:
            if isinstance(event, TaskDone):
                if event.error:
                    raise event.error
                ends[event.index] = event.result
    return [ends[rank] for rank in range(count)]


def one_rank(task: Task, report: Report) -> Trained:
    torch.set_num_threads(1)
    os.environ |= variables(task.rank, task.count, task.port)
    with joined() as ranks:
        backend = RanksBackend(_network(task.recipe), CPU, task.recipe, task.recipe.seed, ranks)
        return _trained(backend, task.recipe)


def _network(recipe: Recipe) -> nn.Module:
    return recipe_network(recipe, (8, 8, 1), 4, blocks(IMAGES)[0])


def _trained(backend: Backend, recipe: Recipe) -> Trained:
    state, losses = TrainState(recipe.seed), list[float]()
    train, val = (Examples.on(CPU, *blocks(n, seed=seed)) for n, seed in ((IMAGES, 0), (40, 1)))
    for event in fit(backend, recipe, train, val, state, tick_seconds=0):
        if isinstance(event, StepsDone):
            losses.append(float(state.losses[-1]))  # an event follows every step
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in state.history]
    return Trained({name: tensor.numpy() for name, tensor in backend.weights().items()}, losses, rows)


def start(count: int, *arguments: object) -> list["subprocess.Popen[str]"]:
    """`misread ARGUMENTS` on several ranks, without torchrun, which would end the others where one dies."""
    return start_each([arguments] * count)


def start_each(commands: list[tuple[object, ...]]) -> list["subprocess.Popen[str]"]:
    port, count = free_port(), len(commands)
    return [
        subprocess.Popen(
            [sys.executable, "-m", "misread", *map(str, command)],
            env={**os.environ, **variables(rank, count, port), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank, command in enumerate(commands)
    ]  # fmt: skip


def ends(processes: list["subprocess.Popen[str]"], seconds: float = 300) -> list[Result]:
    results = []
    for process in processes:
        out, err = process.communicate(timeout=seconds)
        results.append(Result(process.returncode, out, err))
    return results
