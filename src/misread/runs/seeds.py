"""`train_seeds`: trains one recipe with several seeds, and measures how much the results vary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from misread.analysis.intervals import describe
from misread.errors import RecipeError
from misread.runs.prepare import as_image_set
from misread.runs.progress import Progress, pick_progress
from misread.runs.run import Run
from misread.runs.seed_workers import train_in_workers
from misread.runs.train import train
from misread.training.auto_recipe import named_recipe, pick_recipe
from misread.training.callbacks import Callback
from misread.training.recipe import Recipe, Settings, load_recipe, parse_settings
from misread.training.worker_progress import refuse_callbacks, threads_of_each
from misread.workers import Cluster


@dataclass(frozen=True)
class SeedRuns:
    """The runs of one recipe on one data set with different seeds, in the order of their seeds."""

    runs: tuple[Run, ...]

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the last run."""
        return self.runs[-1].record.status == "interrupted"

    @property
    def summary(self) -> Mapping[str, Mapping[str, float]] | None:
        """`describe` of the complete runs' test `accuracy`, `misread` and `fit_seconds`; None with fewer than two."""
        complete = [run for run in self.runs if run.record.status == "complete"]
        if len(complete) < 2:
            return None
        tests = [run.metrics["test"] for run in complete]
        return {
            "accuracy": describe([test["accuracy"] for test in tests]),
            "misread": describe([test["misread"] for test in tests]),
            "fit_seconds": describe([run.record.timing.fit_seconds for run in complete]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values: `recipe`, `data`, `n_test`, `summary`, and `runs` with their folders."""
        record = self.runs[0].record
        return {
            "recipe": record.recipe,
            "data": record.data.name,
            "n_test": record.data.n_test,
            "summary": self.summary,
            "runs": [
                {
                    "folder": str(run.folder),
                    "seed": run.record.seed,
                    "status": run.record.status,
                    "epochs_trained": run.record.epochs_trained,
                    "target_reached": run.record.target_reached,
                    "accuracy": run.metrics["test"]["accuracy"],
                    "misread": run.metrics["test"]["misread"],
                    "fit_seconds": run.record.timing.fit_seconds,
                }
                for run in self.runs
            ],
        }

    def __str__(self) -> str:
        record, summary = self.runs[0].record, self.summary
        if summary is None:
            return "Interrupted before two runs were complete, so there is no summary."
        a, m, s = summary["accuracy"], summary["misread"], summary["fit_seconds"]
        return (
            f"{record.recipe} on {record.data.name}, {a['count']} seeds: test accuracy {a['mean']:.3%}, standard "
            f"deviation {a['standard_deviation']:.3%}, 95% interval of the mean {a['low']:.3%} to {a['high']:.3%}, "
            f"lowest {a['min']:.2%}, highest {a['max']:.2%}; misread {m['mean']:.1f} of {record.data.n_test:,}, "
            f"standard deviation {m['standard_deviation']:.1f}; trained in {s['median']:.2f} s (median)"
        )


def train_seeds(
    data: Any,
    recipe: str | Path | Recipe | None = None,
    *,
    seeds: int = 5,
    seed: int | None = None,
    label_patch: str | Path | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    target: float | None = None,
    settings: Settings = (),
    out: str | Path = "runs",
    device: str = "auto",
    threads: int | None = None,
    workers: int | Cluster = 1,
    callbacks: Sequence[Callback] = (),
    progress: Progress | bool = True,
) -> SeedRuns:
    """Train `seeds` times with the seeds `seed`, `seed + 1`, ..., and measure how much the results vary.

    seeds: two or more. seed: the first seed; by default the recipe's. A carved validation split depends on the seed.
    The members of an ensemble have consecutive seeds, so its runs have seeds that are `members` apart: no two runs
    contain the same network. The other arguments are those of `train`. Each training writes its own run folder.
    workers: processes that train at the same time, or a `RayCluster`. `threads` is then the number of threads of each,
    by default an equal share of torch's, on a cluster one. The weights and predictions are those of one worker with
    this number of threads, bit for bit. If a process is killed, another one continues its training. A script that uses
    processes needs `if __name__ == "__main__":`, because each imports it.
    Raises RecipeError: `seeds` is below 2, or there are callbacks for several workers. Raises the errors of `train`;
    complete runs are kept.
    Ctrl-C ends the current training, and no other follows. With several workers it raises KeyboardInterrupt, and the
    trainings that were not complete can be resumed.
    """
    threads = threads_of_each(workers, threads)
    if seeds < 2:
        raise RecipeError(f"seeds is {seeds}, but must be 2 or more. Use train for a single training.")
    settings = parse_settings(settings, seed=seed)
    recipe = named_recipe(recipe, settings)
    images = as_image_set(data, quiet=progress is False)
    resolved = load_recipe(pick_recipe(recipe, images)[0], settings)
    all_seeds = [resolved.seed + number * resolved.members for number in range(seeds)]
    arguments: dict[str, Any] = {
        "settings": settings, "label_patch": label_patch, "epochs": epochs, "seconds": seconds, "target": target,
        "out": out, "device": device, "threads": threads,
    }  # fmt: skip
    if workers != 1:
        refuse_callbacks(callbacks)
        display = progress if isinstance(progress, Progress) else pick_progress(quiet=not progress)
        return SeedRuns(tuple(train_in_workers(images, recipe, all_seeds, workers, arguments, display)))
    runs: list[Run] = []
    while len(runs) < seeds and not (runs and runs[-1].record.status == "interrupted"):
        one = all_seeds[len(runs)]
        runs.append(train(images, recipe, seed=one, **arguments, callbacks=callbacks, progress=progress))
    return SeedRuns(tuple(runs))
