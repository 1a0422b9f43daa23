"""Trains a recipe with several seeds in several processes at the same time."""

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from misread.data.image_set import ImageSet
from misread.runs.progress import Progress
from misread.runs.resume import read_start
from misread.runs.run import Run, open_run
from misread.runs.run_folder import find_unfinished, is_running
from misread.runs.train import resume, train
from misread.training.device import pick_device
from misread.training.recipe import Recipe
from misread.training.worker_progress import ReportSteps, training_need
from misread.workers import Cluster, Report, TaskDone, run_tasks


@dataclass(frozen=True)
class SeedTrainings:
    """What the trainings have in common. arguments: of `train`, all but data, recipe, seed and what shows progress.

    earlier: the unfinished trainings that were there before.
    """

    data: ImageSet
    recipe: str | Path | Recipe | None
    arguments: Mapping[str, Any]
    earlier: frozenset[Path]

    def train(self, seed: int, report: Report) -> Path:
        """Train with this seed, or go on with the training of a process that died; returns the run folder."""
        killed = self._killed_training(seed)
        common: dict[str, Any] = {"callbacks": [ReportSteps(report)], "progress": False}
        if killed is not None:
            return resume(killed, data=self.data, threads=self.arguments["threads"], **common).folder
        return train(self.data, self.recipe, seed=seed, **self.arguments, **common).folder

    def _killed_training(self, seed: int) -> Path | None:
        """The unfinished training of this seed that an earlier process of this call left, if any."""
        for folder in find_unfinished(Path(self.arguments["out"])):
            if folder in self.earlier or is_running(folder):
                continue
            start = read_start(folder)
            if (start.fingerprint, tomllib.loads(start.recipe)["seed"]) == (self.data.fingerprint, seed):
                return folder
        return None


def train_in_workers(
    data: ImageSet,
    recipe: str | Path | Recipe | None,
    seeds: Sequence[int],
    workers: int | Cluster,
    arguments: Mapping[str, Any],
    display: Progress,
) -> list[Run]:
    """A run for each seed, in the order of the seeds. arguments: see `SeedTrainings`.

    Raises the errors of `train`, and TaskFailed if the process of a worker died in each attempt. Complete runs are
    kept; the other trainings end, and can be resumed.
    """
    out = Path(arguments["out"])
    trainings = SeedTrainings(data, recipe, arguments, frozenset(find_unfinished(out)))
    need = training_need(arguments["threads"], pick_device(arguments["device"]), out)
    runs: dict[int, Run] = {}
    try:
        with closing(run_tasks(partial(_train, trainings), seeds, workers, need)) as events:
            for event in events:
                if isinstance(event, TaskDone):
                    if event.error:
                        raise event.error
                    runs[event.index] = open_run(event.result, data=data, device=arguments["device"])
                    display.finished(runs[event.index])
                else:
                    display.on_worker(event.worker, f"seed {seeds[event.index]}", event.value)
    finally:
        display.on_workers_end()
    return [runs[index] for index in range(len(seeds))]


def _train(trainings: SeedTrainings, seed: int, report: Report) -> Path:
    return trainings.train(seed, report)
