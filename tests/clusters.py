"""A cluster for tests that have none, and what a training must leave the same wherever it ran."""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import misread
from misread.workers import Need, TaskDone, TaskProgress

SMALL = ['layers=[{type="Flatten"}, {type="Dense", units="classes"}]', "name=small"]
DIVERGES = [
    'layers=[{type="Flatten"}, {type="Dense", units=16}, {type="Dense", units="classes"}]',
    "name=small",
    "optimizer.name=sgd",
    "optimizer.learning_rate=1e6",
]


class Elsewhere:
    """Does tasks in this process, but only with what another machine would get: all is pickled on the way.

    needs: those of every call. tasks: how many it was given.
    """

    def __init__(self) -> None:
        self.needs, self.tasks = list[Need](), 0

    def __call__(self, function: Any, tasks: Iterable[Any], need: Need) -> Iterator[TaskProgress | TaskDone]:
        self.needs.append(need)
        sent = pickle.dumps(function)
        for index, task in enumerate(tasks):
            self.tasks += 1
            reports: list[bytes] = []
            there = pickle.loads(sent), pickle.loads(pickle.dumps(task))
            try:
                result, error = there[0](there[1], lambda value, to=reports: to.append(pickle.dumps(value))), None
            except misread.MisreadError as raised:
                result, error = None, raised
            yield from (TaskProgress(index, 0, pickle.loads(report)) for report in reports)
            yield TaskDone(index, 0, *pickle.loads(pickle.dumps((result, error))), 1, 0.0)


def bits(folder: Path) -> dict[str, Any]:
    """What a training decides, of a run folder."""
    rows = [line.rsplit(",", 1)[0] for line in (folder / "history.csv").read_text().splitlines()]  # without seconds
    names = ("model.safetensors", "predictions-test.npz", "misreads-test.csv", "recipe.toml")
    return {"history": rows, **{name: (folder / name).read_bytes() for name in names}}
