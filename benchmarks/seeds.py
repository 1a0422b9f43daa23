"""How much a recipe's test accuracy varies from seed to seed.

Run it as `.venv/bin/python benchmarks/seeds.py tutorial-mlp --seeds 5`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import misread
from misread.analysis.intervals import describe
from results_file import RESULTS, write_json


def main() -> int:
    args = parse_arguments()
    try:
        results = train_seeds(args.recipe, args.data, args.seeds, args.epochs, args.set)
    except misread.MisreadError as error:
        print(error, file=sys.stderr)
        return 2
    changed = "".join(f"-{setting.replace('=', '-')}" for setting in args.set)
    path = args.out or RESULTS / f"seeds-{results['recipe']}{changed}-{results['date']}.json"
    write_json(path, results)
    print(summary_line(results))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a recipe with several seeds; the spread of its test accuracy.")
    parser.add_argument("recipe", help="a recipe's name or TOML file")
    parser.add_argument("--seeds", type=at_least_two, default=5, metavar="K", help="the seeds are 0 to K-1")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's setting")
    parser.add_argument("--data", default="mnist", help="a data set's name or path")
    parser.add_argument("--out", type=Path, metavar="FILE", help="in place of benchmarks/results/seeds-...")
    return parser.parse_args()


def at_least_two(text: str) -> int:
    count = int(text)
    if count < 2:
        raise argparse.ArgumentTypeError("a spread needs 2 seeds or more")
    return count


def train_seeds(recipe: str, data: str, count: int, epochs: int | None, settings: list[str]) -> dict[str, Any]:
    """Train with the seeds 0 to count-1, and what came of it. Raises MisreadError: of `load` and `train`."""
    images = misread.load(data)
    runs: list[dict[str, Any]] = []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as out:
            run = misread.train(images, recipe, seed=seed, epochs=epochs, settings=settings, out=out, progress=False)
        test = run.metrics["test"]
        fit_seconds = run.record.timing.fit_seconds
        runs.append(
            {"seed": seed, "accuracy": test["accuracy"], "misread": test["misread"], "fit_seconds": fit_seconds}
        )
        said = f"accuracy {test['accuracy']:.2%}, {test['misread']:,} misread, fit {fit_seconds:.2f} s"
        print(f"[{seed + 1}/{count}] {said}", file=sys.stderr)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "recipe": run.record.recipe,
        "settings": settings,
        "engine": run.record.engine.model_dump(),
        "data": run.record.data.name,
        "epochs": run.record.epochs_trained,
        "n_test": test["n"],
        "accuracy": describe([r["accuracy"] for r in runs]),
        "misread": describe([r["misread"] for r in runs]),
        "fit_seconds": median_and_spread([r["fit_seconds"] for r in runs]),
        "runs": runs,
        "environment": run.record.environment.model_dump(),
    }


def median_and_spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary_line(results: dict[str, Any]) -> str:
    a, m, fit = results["accuracy"], results["misread"], results["fit_seconds"]
    changed = f" with {', '.join(results['settings'])}" if results["settings"] else ""
    return (
        f"{results['recipe']}{changed} on {results['data']}, {results['epochs']} epochs, {a['count']} seeds: "
        f"test accuracy {a['mean']:.3%} ± {a['standard_deviation']:.3%} (standard deviation), "
        f"95% interval of the mean {a['low']:.3%} to {a['high']:.3%}, "
        f"lowest {a['min']:.2%}, highest {a['max']:.2%}; "
        f"misread {m['mean']:.1f} ± {m['standard_deviation']:.1f} of {results['n_test']:,} "
        f"({m['low']:.1f} to {m['high']:.1f}; lowest {m['min']}, highest {m['max']}); "
        f"fit {fit['median']:.2f} s (median; {fit['min']:.2f} to {fit['max']:.2f})"
    )


if __name__ == "__main__":
    sys.exit(main())
