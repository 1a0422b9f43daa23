"""`sweep`: tries values of a recipe's settings, chooses by validation, and trains the best recipe once for the test."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misread import files
from misread.data.image_set import ImageSet
from misread.errors import RecipeError, RunError, TrainingError, needing
from misread.figures.search import search_figure
from misread.figures.style import Picture
from misread.lab.search_space import Range, SearchSpace, read_search_space
from misread.lab.sweep_progress import SweepProgress, pick_sweep_progress, values_text
from misread.names import nearest
from misread.runs import run_folder
from misread.runs.prepare import as_image_set
from misread.runs.run import Run, open_run
from misread.runs.train import train
from misread.training.recipe import Recipe, Settings, parse_settings
from misread.training.worker_progress import threads_of_each
from misread.workers import Cluster

TRIALS = 50
SAMPLERS = ("tpe", "random")
START, JOURNAL, LOCK = "start.json", "journal.log", "lock"
BEST, RESULT, PICTURE, RUNS = "best.toml", "sweep.json", "search.png", "runs"


@dataclass(frozen=True)
class TrialRow:
    """One trial. score: validation accuracy, of complete trials. state: complete, pruned, failed or killed."""

    number: int
    values: dict[str, Any]
    state: str
    score: float | None
    epochs: int | None
    fit_seconds: float | None


@dataclass(frozen=True)
class Sweep:
    """A sweep and its outcome.

    trials: all of them, in their order. best: the complete trial with the highest score, the first of equals.
    recipe: the best one. run: its run, whose test score was not used for any choice.
    times_scored: how many chosen recipes of this sweep have been scored on the test split; more than 1 if a continued
    sweep found a better one.
    """

    folder: Path
    space: SearchSpace
    trials: tuple[TrialRow, ...]
    best: TrialRow
    recipe: Recipe
    run: Run
    times_scored: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "folder": str(self.folder), "data": self.run.record.data.name, "recipe": self.space.recipe.name,
            "best": vars(self.best), "run": str(self.run.folder), "test": self.run.metrics["test"],
            "times_scored": self.times_scored, "trials": [vars(trial) for trial in self.trials],
        }  # fmt: skip

    def figure(self) -> Picture:
        """The scores of the trials, and each setting against the score."""
        complete = [trial for trial in self.trials if trial.score is not None]
        logarithmic = {name: isinstance(v, Range) and v.log for name, v in self.space.settings.items()}
        values = {name: [trial.values[name] for trial in complete] for name in self.space.settings}
        title = f"{len(self.trials)} trials of {self.space.recipe.name} on {self.run.record.data.name}"
        return search_figure([trial.score or 0.0 for trial in complete], values, logarithmic, title)

    def __str__(self) -> str:
        states = [trial.state for trial in self.trials]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        values, test = values_text(self.best.values), self.run.metrics["test"]
        return (
            f"{len(self.trials)} trials: {counts}\n"
            f"Best: trial {self.best.number}, validation accuracy {self.best.score:.2%}, with {values}\n"
            f"Test accuracy of the best: {test['accuracy']:.2%} (95% interval {test['accuracy_low']:.2%} to "
            f"{test['accuracy_high']:.2%}, {test['n']:,} images)"
        )


def sweep(
    data: Any,
    space: SearchSpace | str | Path,
    *,
    trials: int = TRIALS,
    sampler: str = SAMPLERS[0],
    seconds: float | None = None,
    workers: int | Cluster = 1,
    settings: Settings = (),
    out: str | Path = "sweeps/sweep",
    device: str = "auto",
    threads: int | None = None,
    progress: SweepProgress | bool = True,
) -> Sweep:
    """Try up to `trials` recipes and choose the one with the highest validation accuracy.

    A trial trains without looking at the test split. The best recipe is then trained again into a run, which has the
    test score.
    data:     as for `train`. space: a search space, or the TOML file of one.
    trials:   of the whole sweep. If the folder `out` has trials of the same sweep, only the others are carried out.
    sampler:  `tpe`: Optuna's TPE draws the values of a trial by the earlier results, at random for the first ten. From
              five complete trials on, a trial whose validation accuracy is below the median of the complete ones at the
              same epoch is stopped. `random`: each trial is drawn at random, and none is stopped.
    seconds:  no trial begins after this many seconds of this call.
    workers:  processes that carry out trials at the same time, or a `RayCluster`. `threads` is then the number of
              threads of each, by default an equal share of torch's, on a cluster one. With `random`, the results are
              those of one worker with this number of threads, bit for bit. With `tpe`, they depend on which trials end
              first. If a process is killed, its trial is carried out again. A script that uses processes needs
              `if __name__ == "__main__":`.
    progress: True shows a line for each trial, and in a terminal a table of those that run.
    Raises RecipeError: the space or a number cannot be used. RunError: Optuna is missing, or the folder has another
    sweep, or another process works in it. TrainingError: no trial was complete.
    """
    threads = threads_of_each(workers, threads)
    if trials < 1:
        raise RecipeError(f"{trials} trials try nothing. Use 1 or more.")
    if sampler not in SAMPLERS:
        raise RecipeError(f"There is no sampler {sampler!r}.{nearest(sampler, SAMPLERS)} Known: {', '.join(SAMPLERS)}.")
    with needing("sweep", "A sweep"):
        from misread.lab.trials import Trainings, drop_incomplete_line, open_study, repeat_killed_trials, run_trials
    if not isinstance(space, SearchSpace):
        space = read_search_space(Path(space), parse_settings(settings))
    images, folder = as_image_set(data, quiet=progress is False), Path(out)
    try:
        _begin(folder, space, images, sampler)
        with (folder / LOCK).open("wb") as lock, files.locked(lock, wait=False) as held:
            if not held:
                raise RunError(f"Another process works on the sweep in {folder}. Wait for it, or use another --out.")
            drop_incomplete_line(folder / JOURNAL)
            study = open_study(folder / JOURNAL)
            repeat_killed_trials(study)
            left = trials - sum(row.state != "killed" for row in _rows(study))
            if left > 0:
                until = math.inf if seconds is None else time.time() + seconds
                display = pick_sweep_progress(quiet=not progress) if isinstance(progress, bool) else progress
                trainings = Trainings(images, space, device, threads)
                run_trials(study, trainings, sampler, left, until, workers, display)
            return _finish(folder, space, images, _rows(study), device, threads)
    except OSError as error:
        raise RunError(
            f"{folder} cannot be written: {error.strerror or error}. Free some space, or choose another with --out."
        ) from None


def _begin(folder: Path, space: SearchSpace, images: ImageSet, sampler: str) -> None:
    """Create the folder, or check that it has this sweep. Raises OSError: it cannot be written."""
    start = {**space.to_dict(), "data": images.fingerprint, "sampler": sampler}
    path = folder / START
    try:
        if path.is_file():
            changed = [
                key for key, value in json.loads(path.read_text(encoding="utf-8")).items() if start[key] != value
            ]
            if changed:
                raise RunError(f"The sweep in {folder} has another {' and '.join(changed)}. Use another --out.")
            return
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(start, indent=2) + "\n")
    except (ValueError, KeyError, AttributeError):
        raise RunError(f"{path} is damaged. Remove {folder}, or use another --out.") from None


def _rows(study: Any) -> list[TrialRow]:
    """The finished trials of a study."""
    from misread.lab.trials import is_killed

    rows = []
    for trial in study.get_trials(deepcopy=False):
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}.get(trial.state.name)
        if is_killed(trial):
            state = "killed"
        if state:
            extra = trial.user_attrs
            score = trial.value if state == "complete" else None
            values = dict(trial.params)
            rows.append(TrialRow(trial.number, values, state, score, extra.get("epochs"), extra.get("fit_seconds")))
    return rows


def _finish(
    folder: Path, space: SearchSpace, images: ImageSet, rows: list[TrialRow], device: str, threads: int | None
) -> Sweep:
    """Train the best recipe, unless its run is there, and write the outcome."""
    complete = [row for row in rows if row.score is not None]
    if not complete:
        raise TrainingError(
            f"None of the {len(rows)} trials in {folder} was complete, so there is nothing to choose. Try lower "
            "learning rates, or more trials."
        )
    best = max(complete, key=lambda row: row.score or 0.0)
    recipe = space.with_values(best.values)
    earlier = _earlier_runs(folder)
    run = (
        open_run(folder / RUNS / earlier[str(best.number)], device=device)
        if str(best.number) in earlier
        else train(images, recipe, out=folder / RUNS, device=device, threads=threads, progress=False)
    )
    if run.record.status != "complete":
        raise TrainingError(
            f"The training of the best recipe was interrupted. The same command trains it again: {folder}"
        )
    scored = earlier | {str(best.number): run.folder.name}
    outcome = Sweep(folder, space, tuple(rows), best, recipe, run, len(scored))
    files.write_text(folder / BEST, recipe.to_toml())
    outcome.figure().save(folder / PICTURE)
    files.write_text(folder / RESULT, files.sealed({**outcome.to_dict(), "scored": scored}))
    return outcome


def _earlier_runs(folder: Path) -> dict[str, str]:
    """The run of each trial that was the best at the end of an earlier call, by the trial's number."""
    path = folder / RESULT
    if not path.is_file():
        return {}
    try:
        found: dict[str, str] = files.unsealed(path.read_bytes())["scored"]
    except (ValueError, LookupError):
        raise RunError(f"{path} is damaged. Remove it; the best recipe is then trained again.") from None
    return {number: name for number, name in found.items() if (folder / RUNS / name / run_folder.RECORD).is_file()}
