"""How well doubtful labels are found: wrong labels are planted in train, then ranked by held-out probabilities.

Run it as `.venv/bin/python benchmarks/planted_labels.py --recipe fast`. For every kind, rate and seed, a share of the
training labels is changed. Networks are trained in folds on these labels, with and without the filter, and each method
ranks all labels by the same probabilities. The number of wrong labels is estimated. If cleanlab is installed
(`make .venv-peers/done`), it ranks and counts them too.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

import misread
from machine import measure_machine
from misread.analysis.label_issues import METHODS, flagged_issues, label_issues
from misread.data.image_set import ImageSet
from misread.runs.held_out import HeldOut, cross_val_predict
from results_file import RESULTS, write_json

ROOT = Path(__file__).parent.parent
PEER_SCRIPT = Path(__file__).parent / "peers" / "cleanlab_scores.py"
CONFUSED = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}  # Patrini et al. 2017, arXiv 1609.03683, for MNIST


class Planter:
    """Plants wrong labels in a training split. probs: (N, K), of weak networks that did not train on the image."""

    def __init__(self, labels: np.ndarray, probs: np.ndarray, confused: dict[int, int]) -> None:
        self.labels, self.probs, self.confused = labels, probs, confused

    def planted(self, kind: str, count: int, seed: int) -> np.ndarray:
        """(N,) labels, of which `count` are wrong."""
        rng = np.random.default_rng([seed, count])
        chosen, wrong = KINDS[kind](self, count, rng)
        labels = self.labels.copy()
        labels[chosen] = wrong
        return labels

    def uniform(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Any image, any other class."""
        chosen, classes = rng.choice(len(self.labels), count, replace=False), self.probs.shape[1]
        return chosen, (self.labels[chosen] + rng.integers(1, classes, count)) % classes

    def by_class(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Any image of the classes in `confused`, the class that it is confused with."""
        chosen = rng.choice(np.flatnonzero(np.isin(self.labels, list(self.confused))), count, replace=False)
        return chosen, np.array([self.confused[int(label)] for label in self.labels[chosen]])

    def like_people(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mostly images that could show two things; of the two classes that the weak networks waver between the other.

        The chance falls with the distance between the two probabilities: e-fold with each 2 `count` images in its
        order. One image in fifty is chosen whatever it shows.
        """
        n = len(self.labels)
        first, second = np.argsort(-self.probs, axis=1)[:, :2].T
        other = np.where(first == self.labels, second, first)
        logs = np.log(np.maximum(self.probs, 1e-9))
        distance = logs[np.arange(n), first] - logs[np.arange(n), second]
        chance = np.exp(-distance.argsort().argsort() / (2 * count)) + 0.02
        chosen = rng.choice(n, count, replace=False, p=chance / chance.sum())
        return chosen, other[chosen]


KINDS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "uniform": Planter.uniform, "by class": Planter.by_class, "like people": Planter.like_people,
}  # fmt: skip


def make_planter(data: ImageSet, folds: int) -> Planter:
    """The weak networks are those of `fast`, with a seed that no trial has; they see the labels as they are."""
    with tempfile.TemporaryDirectory() as out:
        weak = cross_val_predict(
            data, "fast", folds=folds, seeds=1, filter_labels=False, seed=1000, out=out, progress=False
        )
    labels, probs = data.train.labels, weak.predictions.probs
    if data.name == "mnist":
        return Planter(labels, probs, CONFUSED)
    confusion = np.zeros((data.n_classes, data.n_classes))
    np.add.at(confusion, labels, probs)
    np.fill_diagonal(confusion, 0)
    most = np.argsort(-confusion.max(axis=1))[: data.n_classes // 2]
    return Planter(labels, probs, {int(k): int(confusion[k].argmax()) for k in most})


def main() -> int:
    args = parse_arguments()
    try:
        data = some_images(misread.load(args.data), args.limit)
        results = {
            "date": time.strftime("%Y-%m-%d"),
            "data": data.name,
            "n_train": len(data.train),
            "recipe": args.recipe,
            "settings": args.set,
            "folds": args.folds,
            "networks": args.networks,
            "machine": measure_machine(),
            "trials": plant_and_find(data, args),
            "timings": [] if args.no_timings else time_whole_rankings(data, args),
        }
    except misread.MisreadError as error:
        print(error, file=sys.stderr)
        return 2
    write_json(args.out or RESULTS / f"planted-{args.recipe}-{results['date']}.json", results)
    print("\n".join(table_lines(results)))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Plant wrong labels and see how well each method finds them.")
    parser.add_argument("--recipe", default="fast", help="a recipe's name or TOML file")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the recipe")
    parser.add_argument("--data", default="mnist", help="a data set's name or path")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.01, 0.05, 0.1], help="shares of planted labels")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="the seeds are 0 to K-1")
    parser.add_argument("--networks", type=int, default=2, metavar="S", help="seeds of networks in each trial")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--limit", type=int, help="take so many images of each split only, for a trial")
    parser.add_argument(
        "--peer-python", type=Path, default=ROOT / ".venv-peers/bin/python", help="the one with cleanlab"
    )
    parser.add_argument("--no-timings", action="store_true", help="leave out the timed rankings of train and of all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="in place of benchmarks/results/planted-...")
    return parser.parse_args()


def some_images(data: ImageSet, limit: int | None) -> ImageSet:
    """At most `limit` images of each split, drawn with a fixed seed: folders are in the order of their classes."""
    if limit is None:
        return data
    draws = np.random.default_rng(0)
    chosen = {name: np.sort(draws.permutation(len(split))[:limit]) for name, split in data.splits.items()}
    return replace(data, splits={name: split.take(chosen[name]) for name, split in data.splits.items()})


def plant_and_find(data: ImageSet, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One entry for every kind, rate and seed: how well each method found what was planted."""
    trials, planted, planter = [], [], make_planter(data, args.folds)
    with tempfile.TemporaryDirectory() as folder:
        for kind, rate, seed, filtered in itertools.product(args.kinds, args.rates, range(args.seeds), (False, True)):
            count = round(rate * len(data.train))
            labels = planter.planted(kind, count, seed)
            planted.append(labels != data.train.labels)
            flawed = replace(data, splits={**data.splits, "train": replace(data.train, labels=labels)})
            held_out = cross_validated(flawed, args, seed, filtered)
            probs, noise = held_out.predictions.probs, held_out.noise
            np.savez(Path(folder) / f"{len(trials):04}.npz", labels=labels, probs=probs)
            trial = {"kind": kind, "rate": rate, "seed": seed, "filtered": filtered, "planted": count}
            trial |= {"accuracy": held_out.metrics["accuracy"], "seconds": held_out.fit_seconds}
            trial["estimated"] = {"misread": noise.to_dict()} if noise else {}
            at_most = noise.flagged if noise else None
            trials.append({**trial, "found": found_by_misread(labels, probs, planted[-1], at_most)})
            report(trials[-1])
        if not args.peer_python.is_file():
            print(f"No cleanlab: there is no {args.peer_python}.", file=sys.stderr)
            return trials
        subprocess.run([args.peer_python, "-W", "ignore", PEER_SCRIPT, folder], check=True)
        for number, trial in enumerate(trials):
            with np.load(Path(folder) / f"{number:04}.scores.npz") as scores:
                trial["estimated"]["cleanlab"] = {"count": int(scores["count"])}
                found = {name: scores[name] for name in scores.files if name != "count"}
                trial["found"] |= found_by_cleanlab(found, planted[number])
    return trials


def cross_validated(
    data: ImageSet, args: argparse.Namespace, seed: int, filtered: bool, split: str = "train"
) -> HeldOut:
    with tempfile.TemporaryDirectory() as out:
        return cross_val_predict(
            data, args.recipe, split=split, folds=args.folds, seeds=args.networks, filter_labels=filtered,
            seed=100 * seed, settings=args.set, out=out, progress=False,
        )  # fmt: skip


def found_by_misread(
    labels: np.ndarray, probs: np.ndarray, planted: np.ndarray, at_most: int | None
) -> dict[str, dict[str, float]]:
    found = {f"misread {method}": ranking_quality(label_issues(labels, probs, method), planted) for method in METHODS}
    found["misread flagged"] = flag_quality(flagged_issues(labels, probs.astype(np.float64), at_most), planted)
    return found


def found_by_cleanlab(scores: dict[str, np.ndarray], planted: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    for name, values in scores.items():
        if name.startswith("flagged_"):
            found[f"cleanlab {name.replace('_', ' ', 1).replace('_', '-')}"] = flag_quality(values, planted)
        else:
            order = np.argsort(values, kind="stable")
            found[f"cleanlab {name.replace('_', '-')}"] = ranking_quality(order, planted)
    return found


def ranking_quality(order: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    """Average precision, and precision among as many of the first as were planted."""
    hits = planted[order]
    if not hits.any():
        return {"average_precision": 0.0, "precision_at_planted": 0.0}
    return {
        "average_precision": float(average_precision_score(hits, -np.arange(len(hits)))),
        "precision_at_planted": float(hits[: int(planted.sum())].mean()),
    }


def flag_quality(flagged: np.ndarray, planted: np.ndarray) -> dict[str, float]:
    return {
        "flagged": int(flagged.sum()),
        "precision": float(planted[flagged].mean()) if flagged.any() else 0.0,
        "recall": float(flagged[planted].mean()) if planted.any() else 0.0,
    }


def time_whole_rankings(data: ImageSet, args: argparse.Namespace) -> list[dict[str, Any]]:
    """From arrays in memory to the ordered table, of train and of all splits, on the labels as they are."""
    timings = []
    for split, filtered in itertools.product(("train", "all"), (False, True)):
        started = time.perf_counter()
        held_out = cross_validated(data, args, 0, filtered, split)
        trained = time.perf_counter()
        table = held_out.label_issues()
        seconds = time.perf_counter() - started
        timing = {"split": split, "filtered": filtered, "images": len(table), "seconds": seconds}
        timing |= {"table_seconds": time.perf_counter() - trained, "fit_seconds": held_out.fit_seconds}
        timings.append({**timing, "accuracy": held_out.metrics["accuracy"]})
    return timings


def report(trial: dict[str, Any]) -> None:
    precision = trial["found"]["misread normalised-margin"]["average_precision"]
    noise = trial["estimated"].get("misread")
    print(
        f"{trial['kind']}, {trial['rate']:.0%}, seed {trial['seed']}, {describe(trial['filtered'])}: held-out accuracy "
        f"{trial['accuracy']:.2%}, average precision by margin {precision:.4f}, {trial['planted']} planted"
        + (f", {noise['count']} estimated ({noise['low']} to {noise['high']})" if noise else "")
        + f", {trial['seconds']:.1f} s",
        file=sys.stderr,
    )


def describe(filtered: bool) -> str:
    return "filtered" if filtered else "not filtered"


def table_lines(results: dict[str, Any]) -> Iterable[str]:
    """The results as Markdown: a row a method, a column a kind and rate; means over seeds, in percent."""
    trials = results["trials"]
    seeds = len({t["seed"] for t in trials})
    yield (
        f"{results['n_train']:,} images, {results['networks']} x {results['folds']} folds of {results['recipe']}, "
        f"seeds: {seeds}."
    )
    for filtered in (False, True):
        of_kind = [t for t in trials if t["filtered"] == filtered]
        yield from method_table(of_kind, ("average_precision", "precision_at_planted"), (
            f"Trainings {describe(filtered)}: average precision / precision at the planted count"))  # fmt: skip
        yield from method_table(of_kind, ("precision", "recall"), (
            f"Trainings {describe(filtered)}: precision / recall of what is flagged"))  # fmt: skip
        yield from estimate_table(of_kind, f"Trainings {describe(filtered)}: estimated number of wrong labels")
    yield ""
    for timing in results["timings"]:
        yield (
            f"{timing['images']:,} labels ({timing['split']}, {describe(timing['filtered'])}) ranked in "
            f"{timing['seconds']:.2f} s, of which training {timing['fit_seconds']:.2f} s; held-out accuracy "
            f"{timing['accuracy']:.2%}."
        )


def method_table(trials: list[dict[str, Any]], measures: tuple[str, str], title: str) -> Iterable[str]:
    groups = list(dict.fromkeys((t["kind"], t["rate"]) for t in trials))
    yield from ("", f"{title}, %, mean over seeds:", "")
    yield "| method | " + " | ".join(f"{kind} {rate:.0%}" for kind, rate in groups) + " |"
    yield "|---|" + "---:|" * len(groups)
    for method in (m for m, found in trials[0]["found"].items() if measures[0] in found):
        cells = []
        for group in groups:
            found = [t["found"][method] for t in trials if (t["kind"], t["rate"]) == group]
            cells.append(" / ".join(f"{100 * statistics.fmean(f[m] for f in found):.2f}" for m in measures))
        yield f"| {method} | " + " | ".join(cells) + " |"


def estimate_table(trials: list[dict[str, Any]], title: str) -> Iterable[str]:
    """A row a trial: what was planted, the estimates, and whether the interval has it."""
    yield from ("", f"{title}:", "", "| kind | planted | misread | interval | has it | precision of flagged: "
                "true | estimated | cleanlab |", "|---|---:|---:|---:|---|---:|---:|---:|")  # fmt: skip
    for trial in trials:
        noise, count = trial["estimated"].get("misread"), trial["planted"]
        if noise is None:
            continue
        flagged, cleanlab = trial["found"]["misread flagged"], trial["estimated"].get("cleanlab", {})
        estimated = "" if noise["precision"] is None else f"{noise['precision']:.0%}"
        yield (
            f"| {trial['kind']} {trial['rate']:.0%} | {count:,} | {noise['count']:,} | {noise['low']:,} to "
            f"{noise['high']:,} | {'yes' if noise['low'] <= count <= noise['high'] else 'no'} | "
            f"{flagged['precision']:.0%} | {estimated} | {cleanlab.get('count', '')} |"
        )


if __name__ == "__main__":
    sys.exit(main())
