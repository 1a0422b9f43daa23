"""A picture of accuracy against seconds of training, from results files of bench.py, seeds.py and photographs.py.

Run it as `.venv/bin/python benchmarks/accuracy_over_seconds.py FILE... --picture docs/images/photographs.png`.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from misread.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, Picture, percent, plain_axes

COLOURS = {
    "misread": BLUE, "torch": VERMILLION, "torch-resident": VERMILLION, "keras-jax": GREEN, "keras-tensorflow": ORANGE,
}  # fmt: skip
Training = tuple[str, str, float, float]  # contestant, recipe, seconds, accuracy


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy against seconds of training, as a picture.")
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE", help="results of one data set")
    parser.add_argument("--picture", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    found = [training for path in args.results for training in trainings(json.loads(path.read_text(encoding="utf-8")))]
    draw(found).save(args.picture)
    return 0


def trainings(results: dict[str, Any]) -> Iterator[Training]:
    """Every training in a results file."""
    if "rows" in results:  # of photographs.py
        for row in results["rows"]:
            if "failed" not in row:
                yield row["who"], row["recipe"], row["fit_seconds"], row["accuracy"]
    elif "measurements" in results:  # of bench.py
        for row in results["measurements"]:
            yield row["contestant"], row["recipe"], row["fit_seconds"], row["test_accuracy"]
    else:  # of seeds.py
        for run in results["runs"]:
            yield "misread", results["recipe"], run["fit_seconds"], run["accuracy"]


def draw(found: list[Training]) -> Picture:
    """A line for each contestant, through each recipe at median seconds and mean accuracy; a dot for each training."""
    picture = Picture(7, 4.2, layout="constrained")
    axes = picture.subplots()
    for who in dict.fromkeys(who for who, *_ in found):
        own = [(recipe, seconds, accuracy) for name, recipe, seconds, accuracy in found if name == who]
        colour = COLOURS.get(who, GREY)
        axes.scatter([t[1] for t in own], [t[2] for t in own], s=14, color=colour, alpha=0.4)
        points = sorted(
            (statistics.median(t[1] for t in own if t[0] == recipe),
             statistics.mean(t[2] for t in own if t[0] == recipe), recipe)
            for recipe in dict.fromkeys(t[0] for t in own)
        )  # fmt: skip
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", color=colour, label=who)
        for seconds, accuracy, recipe in points if who == "misread" else ():
            axes.annotate(recipe, (seconds, accuracy), (0, 8), textcoords="offset points", ha="center", color=BLACK)
    plain_axes(axes)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(percent)
    axes.margins(x=0.2, y=0.15)
    axes.legend(frameon=False, loc="lower right")
    return picture


if __name__ == "__main__":
    sys.exit(main())
