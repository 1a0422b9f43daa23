"""A picture of accuracy against seconds of training, from results files of bench.py, seeds.py and photographs.py.

Run it as `.venv/bin/python benchmarks/accuracy_over_seconds.py FILE... --picture docs/images/photographs.png`.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogLocator

from misread.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILLION, Picture, plain_axes
from misread.figures.ticks import percent

COLOURS = {
    "misread": BLUE, "torch": VERMILLION, "torch-dataloader": VERMILLION, "keras-jax": GREEN,
    "keras-tensorflow": ORANGE,
}  # fmt: skip
Training = tuple[str, str, float, float]  # contestant, recipe, seconds, accuracy


def main() -> int:
    parser = argparse.ArgumentParser(description="Accuracy against seconds of training, as a picture.")
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE", help="results of one data set")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contestants; by default all")
    parser.add_argument("--picture", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    found = [training for path in args.results for training in trainings(json.loads(path.read_text(encoding="utf-8")))]
    found = [training for training in found if not args.only or training[0] in args.only]
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
        for command in results["whole_commands"]:  # of misread, with the recipe's own epochs
            yield "misread", command["recipe"], command["timing"]["fit_seconds"], command["test_accuracy"]
    else:  # of seeds.py
        for run in results["runs"]:
            yield "misread", results["recipe"], run["fit_seconds"], run["accuracy"]


def draw(found: list[Training]) -> Picture:
    """A point for each training: its colour is the contestant, its shape the recipe. Names are at misread's points."""
    picture = Picture(7, 4.2, layout="constrained")
    axes = picture.subplots()
    marker_of = dict(zip(dict.fromkeys(recipe for _, recipe, *_ in found), "osD^vP", strict=False))
    for who in dict.fromkeys(who for who, *_ in found):
        colour = COLOURS.get(who, GREY)
        axes.scatter([], [], color=colour, label=who)  # for the legend
        for recipe, marker in marker_of.items():
            points = [(seconds, accuracy) for *own, seconds, accuracy in found if own == [who, recipe]]
            if not points:
                continue
            axes.scatter(*zip(*points, strict=True), s=36, color=colour, marker=marker, alpha=0.7)
            if who == "misread":
                top = max(points, key=lambda point: point[1])
                axes.annotate(recipe, top, (0, 8), textcoords="offset points", ha="center", color=BLACK)
    plain_axes(axes)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of training")
    axes.set_ylabel("accuracy")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter(percent)
    axes.margins(x=0.2, y=0.15)
    axes.legend(frameon=False, loc="lower right")
    return picture


if __name__ == "__main__":
    sys.exit(main())
