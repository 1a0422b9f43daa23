"""The recipes for photographs: accuracy on carved images, seconds, and the spread over seeds; beside peers if asked.

Run it as `.venv/bin/python benchmarks/photographs.py PICTURES --recipes photo-fast photo --seeds 3 --peers torch`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import misread
from bench import OWN_PYTHON, PEERS_PYTHON
from children import answers_of, say
from machine import measure_machine
from misread.analysis.intervals import describe
from misread.data.image_set import ImageSet, build_image_set
from misread.data.splits import carve
from misread.training.recipe import load_recipe
from results_file import RESULTS, write_json

RECIPES = ("photo-fast", "photo", "photo-accurate")
TEST_FRACTION = 0.1
SPLIT_SEED = 0  # of the carved test images, the same for all
PEERS_HERE = Path(__file__).resolve().parent / "peers"
PEERS: Mapping[str, tuple[Path, str, str, Mapping[str, str]]] = {  # Python, script, network, environment
    "torch": (OWN_PYTHON, "torch_photographs.py", "cnn", {}),
    "torch-resnet": (OWN_PYTHON, "torch_photographs.py", "resnet", {}),
    "keras-jax": (PEERS_PYTHON, "keras_photographs.py", "cnn", {"KERAS_BACKEND": "jax"}),
    "keras-tensorflow": (PEERS_PYTHON, "keras_photographs.py", "cnn", {"KERAS_BACKEND": "tensorflow"}),
}


def main() -> int:
    args = parse_arguments()
    if missing := sorted({str(PEERS[peer][0]) for peer in args.peers if not PEERS[peer][0].exists()}):
        print(f"{', '.join(missing)} is missing. Make it first: make .venv-peers/done", file=sys.stderr)
        return 2
    try:
        recipes = {name: load_recipe(name) for name in args.recipes}  # reports a bad name before the first training
        images = carved_images(args.data)
    except misread.MisreadError as error:
        print(error, file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    machine = measure_machine()
    for seed in range(args.seeds):
        for name in recipes:
            rows.append({"who": "misread", "recipe": name, "seed": seed, **train(images, name, seed)})
            tell(rows[-1])
            rows += peer_rows(images, args.peers, rows[-1])
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "data": images.name,
        "n_train": len(images.train),
        "n_test": len(images.test),
        "machine": machine,
        "summary": summary(rows),
        "rows": rows,
    }
    write_json(args.out, results)
    print(table(results))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy and seconds of the recipes for photographs.")
    parser.add_argument("data", help="a folder of pictures or an .npz file; a tenth of it is carved for the test")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="RECIPE")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="the seeds are 0 to K-1")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], metavar="NAME", help=", ".join(PEERS))
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"photographs-{time.strftime('%Y-%m-%d')}.json", metavar="FILE"
    )
    return parser.parse_args()


def carved_images(data: str) -> ImageSet:
    """All training images of the data, also those that `load` carved for a test, with a tenth carved here."""
    loaded = misread.load(data)
    parts = [loaded.train, loaded.test] if loaded.carved_test else [loaded.train]
    images = np.concatenate([np.asarray(part.images) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    train, test = carve(labels, TEST_FRACTION, SPLIT_SEED)
    splits = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    return build_image_set(loaded.name, splits, class_names=loaded.class_names)


def train(images: ImageSet, recipe: str, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        run = misread.train(images, recipe, seed=seed, out=out, progress=False)
    record = run.record
    engine = f"{record.engine.name} {record.engine.precision}"
    return {
        "accuracy": run.metrics["test"]["accuracy"],
        "fit_seconds": record.timing.fit_seconds,
        "evaluate_seconds": record.timing.evaluate_seconds,
        "note": f"{record.epochs_trained} epochs, {engine}",
    }


def peer_rows(images: ImageSet, peers: Iterable[str], ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each peer, trained on the same images for as many seconds as misread took."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "photographs.npz"
        for peer in peers:
            if not data.exists():
                train, test = images.train, images.test
                np.savez(data, x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
            python, script, network, variables = PEERS[peer]
            command = [python, PEERS_HERE / script, "--data", data, "--network", network, "--seed", str(ours["seed"])]
            answers = answers_of([*command, "--seconds", str(ours["fit_seconds"])], variables)
            rows.append({"who": peer, "recipe": ours["recipe"], "seed": ours["seed"], **answers})
            tell(rows[-1])
    return rows


def tell(row: Mapping[str, Any]) -> None:
    said = row.get("failed") or f"{row['accuracy']:.2%} in {row['fit_seconds']:.1f} s ({row['note']})"
    say(f"{row['recipe']}, seed {row['seed']}, {row['who']}: {said}")


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each recipe and contestant the accuracies' mean and spread, and the median of the seconds."""
    lines = []
    for recipe, who in dict.fromkeys((row["recipe"], row["who"]) for row in rows):
        done = [r for r in rows if (r["recipe"], r["who"]) == (recipe, who) and "failed" not in r]
        if done:
            accuracies, seconds = [r["accuracy"] for r in done], [r["fit_seconds"] for r in done]
            spread = describe(accuracies) if len(done) > 1 else {"mean": accuracies[0], "count": 1}
            lines.append({"recipe": recipe, "who": who, "accuracy": spread, "fit_seconds": statistics.median(seconds)})
    return lines


def table(results: Mapping[str, Any]) -> str:
    lines = [
        f"{results['data']}: {results['n_train']:,} images to train, {results['n_test']:,} carved to test",
        "",
        "| recipe | | seeds | test accuracy | training, s |",
        "|---|---|---:|---|---:|",
    ]
    for row in results["summary"]:
        accuracy = row["accuracy"]
        spread = f" ± {accuracy['standard_deviation']:.2%}" if "standard_deviation" in accuracy else ""
        cells = [f"`{row['recipe']}`", row["who"], accuracy["count"], f"{accuracy['mean']:.2%}{spread}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['fit_seconds']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
