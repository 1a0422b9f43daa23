"""`reproduce`: trains a run again from its folder alone, and compares the results."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from misread.errors import RunError
from misread.runs.progress import Progress
from misread.runs.record import RunRecord
from misread.runs.run import Run, open_run
from misread.runs.run_folder import LABEL_PATCH, WEIGHTS
from misread.runs.train import train
from misread.training.callbacks import ChangeRates
from misread.training.session import RateChange

TIMES = ("seconds",)  # columns of the history that differ in every training


@dataclass(frozen=True)
class Reproduction:
    """The result of training a run again.

    weights, history, probs: the largest absolute difference; 0 if they are the same bit for bit.
    predictions: the number of test images with another predicted class. n: the number of test images.
    differences: differences of machine, build, versions and threads between the two trainings.
    """

    folder: Path
    weights: float
    history: float
    probs: float
    predictions: int
    n: int
    differences: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether everything is the same bit for bit."""
        return self.weights == self.history == self.probs == 0 and self.predictions == 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "exact": self.exact,
            "largest_difference": {"weights": self.weights, "history": self.history, "probs": self.probs},
            "changed_predictions": self.predictions,
            "n": self.n,
            "differences": list(self.differences),
        }

    def __str__(self) -> str:
        if self.exact:
            lines = [f"{self.folder}: the same bit for bit: weights, history and all {self.n:,} predictions."]
        else:
            lines = [
                f"{self.folder}: not the same bit for bit. Weights differ by up to {self.weights:.2g}, "
                f"probabilities by up to {self.probs:.2g}, the history by up to {self.history:.2g}; "
                f"{self.predictions:,} of {self.n:,} predictions changed."
            ]
        if self.differences:
            lines += ["Differences from the original training:", *(f"  {line}" for line in self.differences)]
        elif not self.exact:
            lines.append("Machine, build, versions and thread count are the same.")
        return "\n".join(lines)


def reproduce(run: Run | str | Path, *, progress: Progress | bool = True) -> Reproduction:
    """Train a run again with its recipe, label patch, device and thread count, and compare the results.

    Changes of the learning rate that were made while the run was trained are made again, at the same steps.
    The new run is deleted afterwards. Raises RunError: the run is unfinished, was trained for a number of seconds, or
    used arrays, a module or a callback from Python; or its data is no longer available.
    """
    run = run if isinstance(run, Run) else open_run(run)
    record = run.record
    _check_reproducible(run)
    patch = run.folder / LABEL_PATCH if record.label_patch else None
    with tempfile.TemporaryDirectory() as out:
        again = train(
            run.data,
            run.recipe,
            label_patch=patch,
            out=out,
            device=record.environment.device.partition(":")[0],
            threads=record.environment.threads,
            callbacks=[ChangeRates([RateChange(**change.model_dump()) for change in record.rate_changes])],
            progress=progress,
        )
        before, after = run.predictions().probs, again.predictions().probs
        return Reproduction(
            run.folder,
            weights=_weights_difference(run.folder, again.folder),
            history=_history_difference(run, again),
            probs=float(np.abs(before - after).max(initial=0.0)),
            predictions=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
            n=len(before),
            differences=tuple(_differences(record, again.record)),
        )


def _check_reproducible(run: Run) -> None:
    record = run.record
    if record.status != "complete":
        raise RunError(
            f"The run in {run.folder} is {record.status}. Finish it first: misread train --resume {run.folder}"
        )
    if record.model.network != "recipe":
        raise RunError(
            f"The run in {run.folder} trained a module from Python, {record.model.network}. Its initial weights are "
            "not in the folder, so the run cannot be reproduced."
        )
    if run.recipe.seconds is not None:
        raise RunError(
            f"The run in {run.folder} was trained for {run.recipe.seconds:g} seconds. The number of steps "
            "depends on the clock, so the run cannot be reproduced. Train with epochs instead."
        )
    if record.stopped and not run.recipe.early_stopping and not run.recipe.target_accuracy:
        raise RunError(
            f"The run in {run.folder} was stopped by a callback ({record.stopped}). The callback is not in the "
            "folder, so the run cannot be reproduced."
        )


def _weights_difference(before: Path, after: Path) -> float:
    from safetensors.numpy import load_file

    first, second = load_file(before / WEIGHTS), load_file(after / WEIGHTS)
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return float("inf")
    return max((float(np.abs(first[k].astype(np.float64) - second[k]).max(initial=0.0)) for k in first), default=0.0)


def _history_difference(before: Run, after: Run) -> float:
    first, second = (r.history.drop(columns=list(TIMES)) for r in (before, after))
    if first.shape != second.shape or list(first) != list(second):
        return float("inf")
    return float(np.abs(first.to_numpy(np.float64) - second.to_numpy(np.float64)).max(initial=0.0))


def _differences(before: RunRecord, after: RunRecord) -> list[str]:
    lines = []
    for part in ("environment", "engine"):
        # the number of workers changes no result
        first, second = (getattr(record, part).model_dump(exclude={"workers"}) for record in (before, after))
        lines += [f"{key}: {first[key]} then, {second[key]} now" for key in first if first[key] != second[key]]
    lines += [f"{i.reason} (when it was resumed)" for i in before.interruptions if not i.exact]
    return lines
