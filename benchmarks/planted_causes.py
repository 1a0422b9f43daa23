"""How often the cause told for a misread image is right: test images with a known cause are planted, and found again.

Run it as `.venv/bin/python benchmarks/planted_causes.py --recipe tutorial-mlp --epochs 5 --seeds 3`.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

import misread
from misread.analysis.causes import Cause
from misread.data.image_set import ImageSet
from misread.models.network import to_input
from results_file import RESULTS, write_json

Planted = tuple[np.ndarray, np.ndarray]  # images (n, H, W, C) uint8, their labels (n,)
GENUINE = "(not planted)"

# --- what is planted: n images each, from test images, training images and labels as misread loads them


def flipped_labels(rng: np.random.Generator, data: ImageSet, n: int) -> Planted:
    """Test images with the label of another class."""
    chosen = rng.choice(len(data.test), n, replace=False)
    return data.test.images[chosen], _another(rng, data.test.labels[chosen], data.n_classes)


def blends(rng: np.random.Generator, data: ImageSet, n: int) -> Planted:
    """Averages of two test images of different classes, labelled as one of them."""
    images, labels = data.test.images, data.test.labels
    first = rng.choice(len(labels), n, replace=False)
    second = np.array([rng.choice(np.flatnonzero(labels != labels[i])) for i in first])
    blended = (images[first].astype(np.uint16) + images[second]) // 2
    return blended.astype(np.uint8), labels[first]


def relabelled_copies(rng: np.random.Generator, data: ImageSet, n: int) -> Planted:
    """Training images with one pixel inverted and the label of another class."""
    chosen = rng.choice(len(data.train), n, replace=False)
    images = data.train.images[chosen].copy()
    height, width = images.shape[1:3]
    spot = (np.arange(n), rng.integers(0, height, n), rng.integers(0, width, n))
    images[spot] = 255 - images[spot]
    return images, _another(rng, data.train.labels[chosen], data.n_classes)


def strange_pictures(rng: np.random.Generator, data: ImageSet, n: int) -> Planted:
    """In turn noise, inverted test images, triangles and stripes, with random labels."""
    kinds = (_noise, _inverted, _triangles, _stripes)
    images = np.stack([kinds[i % len(kinds)](rng, data) for i in range(n)])
    return images, rng.integers(0, data.n_classes, n)


def pushed_images(rng: np.random.Generator, data: ImageSet, n: int, network: nn.Module, reach: float = 0.15) -> Planted:
    """Test images that this network is pushed into misreading by changes of at most `reach` to each pixel; label kept.

    They are what they were to the eye, so that the error is the network's.
    Source: iterated gradient signs, Madry et al. 2018, arXiv 1706.06083; here only until the image is misread.
    """
    chosen = rng.choice(len(data.test), n, replace=False)
    clean, labels = to_input(torch.tensor(data.test.images[chosen])), torch.tensor(data.test.labels[chosen])
    pushed = clean.clone()
    network.eval()
    for _ in range(40):
        logits = network(pushed.requires_grad_())
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), pushed)
        still_right = (logits.argmax(dim=1) == labels)[:, None, None, None]
        step = pushed.detach() + still_right * 0.01 * gradient.sign()
        pushed = step.clamp(clean - reach, clean + reach).clamp(0, 1)
    images = (pushed.detach() * 255).round().to(torch.uint8).movedim(1, -1)
    return images.numpy(), data.test.labels[chosen]


def _another(rng: np.random.Generator, labels: np.ndarray, n_classes: int) -> np.ndarray:
    return (labels + rng.integers(1, n_classes, len(labels))) % n_classes


def _noise(rng: np.random.Generator, data: ImageSet) -> np.ndarray:
    return rng.integers(0, 256, data.image_shape, dtype=np.uint8)


def _inverted(rng: np.random.Generator, data: ImageSet) -> np.ndarray:
    return 255 - data.test.images[rng.integers(len(data.test))]


def _triangles(rng: np.random.Generator, data: ImageSet) -> np.ndarray:
    height, width, channels = data.image_shape
    canvas = Image.new("L", (width, height))
    for _ in range(rng.integers(1, 3)):
        corners = [tuple(map(int, rng.integers(0, (width, height)))) for _ in range(3)]
        ImageDraw.Draw(canvas).polygon(corners, fill=int(rng.integers(120, 256)))
    return np.repeat(np.asarray(canvas)[..., None], channels, axis=2)


def _stripes(rng: np.random.Generator, data: ImageSet) -> np.ndarray:
    height, width, channels = data.image_shape
    wide, shift = rng.integers(1, 5), rng.integers(0, 8)
    across = (np.arange(height) + shift) // wide % 2 * 255
    along = (np.arange(width) + shift) // wide % 2 * 255
    stripes = np.repeat(across[:, None], width, 1) if rng.random() < 0.5 else np.repeat(along[None], height, 0)
    return np.repeat(stripes[..., None].astype(np.uint8), channels, axis=2)


EXPECTED: dict[str, Cause] = {
    "flipped label": Cause.LABEL,
    "blend of two": Cause.AMBIGUOUS,
    "relabelled copy": Cause.DUPLICATE,
    "strange picture": Cause.UNLIKE,
    "pushed image": Cause.MODEL,
}


PLANT = {
    "flipped label": flipped_labels,
    "blend of two": blends,
    "relabelled copy": relabelled_copies,
    "strange picture": strange_pictures,
}


def plant(data: ImageSet, network: nn.Module, counts: dict[str, int], seed: int) -> tuple[ImageSet, np.ndarray]:
    """The data with so many test images of each kind in place of others, and what each test image is: (N,) kinds."""
    rng = np.random.default_rng(seed)
    images, labels = data.test.images.copy(), data.test.labels.copy()
    kinds = np.full(len(labels), GENUINE, dtype=object)
    free = rng.permutation(len(labels))
    for kind, n in counts.items():
        at, free = free[:n], free[n:]
        images[at], labels[at] = PLANT[kind](rng, data, n) if kind in PLANT else pushed_images(rng, data, n, network)
        kinds[at] = kind
    parts = {name: (split.images, split.labels) for name, split in data.splits.items()} | {"test": (images, labels)}
    train = parts.pop("train")
    return ImageSet.from_arrays(*train, **parts, class_names=data.class_names, name=data.name), kinds


# --- how they are found again


def count_causes(kinds: np.ndarray, told: "dict[int, str]") -> dict[str, dict[str, int]]:
    """For each kind: how many were planted, how many of them misread, and how many were told each cause.

    kinds: (N,) of each test image. told: row of a misread image -> its cause.
    """
    counts: dict[str, dict[str, int]] = {}
    for kind in (*EXPECTED, GENUINE):
        rows = np.flatnonzero(kinds == kind)
        causes = [told[row] for row in rows.tolist() if row in told]
        counts[kind] = {"planted": len(rows), "misread": len(causes), **{str(c): causes.count(c) for c in Cause}}
    return counts


EACH, NOTHING = "each kind", "nothing"


def measure(
    data: ImageSet, recipe: str, seed: int, shares: dict[str, dict[str, float]], *, epochs: int | None = None,
    other_seeds: int = 0, stronger: str = "", settings: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Train once, plant several times, explain.

    shares:   for each experiment, the share of the test images that is planted of each kind.
    stronger: a recipe. The result then has how many of the unplanted model errors its run reads right.
    """

    def train(recipe: str, seed: int, **options: Any) -> misread.Run:
        return misread.train(data, recipe, seed=seed, out=out, progress=False, **options)

    result: dict[str, Any] = {"seed": seed, "experiments": {}}
    with tempfile.TemporaryDirectory() as out:
        run = train(recipe, seed, epochs=epochs, settings=settings)
        others = [train(recipe, seed + 1000 + i, epochs=epochs, settings=settings) for i in range(other_seeds)]
        result["accuracy"] = run.metrics["test"]["accuracy"]
        for name, share in shares.items():
            counts = {kind: round(share[kind] * len(data.test)) for kind in share}
            planted, kinds = plant(data, run.network, counts, seed)
            same, *independent = (misread.Run(r.folder, r.record, data=planted) for r in (run, *others))
            predictions, _ = same.predict_on()
            predictions.run = same
            started = time.perf_counter()
            table = predictions.misreads.explain(*independent).table
            seconds = time.perf_counter() - started
            told = dict(zip(table["index"].tolist(), table["cause"].tolist(), strict=True))
            result["experiments"][name] = {"explain_seconds": seconds, "counts": count_causes(kinds, told)}
            if name == NOTHING and stronger:
                better = train(stronger, seed).predictions()
                own = table.loc[table["cause"] == Cause.MODEL, "index"].to_numpy()
                result["stronger"] = {
                    "accuracy": better.metrics()["accuracy"],
                    "model_errors": len(own),
                    "read_right": int((~better.misread[own]).sum()),
                }
    return result


def cause_table(counts: list[dict[str, dict[str, int]]]) -> str:
    """Markdown: a row for each kind, the mean share of each cause told among its misread images; then the precision.

    counts: of each seed, by `count_causes`.
    """
    header = ["planted", "misread", *(str(cause) for cause in Cause)]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for kind in (*EXPECTED, GENUINE):
        rows = [count[kind] for count in counts if count[kind]["planted"]]
        if not rows:
            continue
        misread_of = f"{statistics.fmean(r['misread'] for r in rows):.0f} of {rows[0]['planted']:,}"
        cells = [_share([r[str(cause)] / max(r["misread"], 1) for r in rows]) for cause in Cause]
        right = list(Cause).index(EXPECTED[kind]) if kind in EXPECTED else None
        cells = [f"**{c}**" if i == right else c for i, c in enumerate(cells)]
        lines.append("| " + " | ".join([kind, misread_of, *cells]) + " |")
    precision = [_precision(counts, cause) for cause in Cause]
    return "\n".join([*lines, "| " + " | ".join(["right where it is said", "", *precision]) + " |"])


def _precision(counts: list[dict[str, dict[str, int]]], cause: Cause) -> str:
    """How many of all images with this cause are known to have it. Model errors are right also of unplanted images."""
    said = sum(kind[str(cause)] for count in counts for kind in count.values())
    known = [kind for kind, expected in EXPECTED.items() if expected is cause]
    known += [GENUINE] if cause is Cause.MODEL else []
    right = sum(count[kind][str(cause)] for count in counts for kind in known)
    return f"{right:,} of {said:,}" if known and said else "-" if known else ""


def _share(shares: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(shares):.0f}" if len(shares) > 1 else ""
    return f"{statistics.fmean(shares):.0%}{spread}"


def _put_aside(data: ImageSet, n: int) -> ImageSet:
    """The data with n of its training images as test split: nothing is then measured on its own test images."""
    order = np.random.default_rng(0).permutation(len(data.train))
    test, train = np.sort(order[:n]), np.sort(order[n:])
    images, labels = np.asarray(data.train.images), data.train.labels
    return ImageSet.from_arrays(
        images[train], labels[train], test=(images[test], labels[test]), class_names=data.class_names, name=data.name
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant test images with known causes and count the causes told.")
    parser.add_argument("--data", default="mnist", help="a data set's name or path")
    parser.add_argument("--aside", type=int, metavar="N", help="test on N of its training images")
    parser.add_argument("--recipe", default="tutorial-mlp", help="a recipe's name or TOML file")
    parser.add_argument("--stronger", default="", metavar="RECIPE", help="how many model errors it reads right")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="the seeds are 0 to K-1")
    parser.add_argument("--each", type=float, default=0.005, help="the share of test images planted of each kind")
    parser.add_argument("--flipped", type=float, nargs="*", default=[0.03], help="shares with wrong labels alone")
    parser.add_argument("--others", type=int, default=0, help="runs of other seeds whose opinion counts too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's setting")
    parser.add_argument("--out", type=Path, metavar="FILE", help="in place of benchmarks/results/planted-causes-...")
    args = parser.parse_args()
    data = misread.load(args.data)
    data = _put_aside(data, args.aside) if args.aside else data
    shares: dict[str, dict[str, float]] = {NOTHING: {}, EACH: dict.fromkeys(EXPECTED, args.each)}
    shares |= {f"wrong labels {share:.1%}": {"flipped label": share} for share in args.flipped}
    runs = []
    for seed in range(args.seeds):
        runs.append(
            measure(data, args.recipe, seed, shares, epochs=args.epochs, other_seeds=args.others,
                    stronger=args.stronger, settings=args.set)
        )  # fmt: skip
        print(f"[{seed + 1}/{args.seeds}]", file=sys.stderr)
    date = time.strftime("%Y-%m-%d")
    recipe = Path(args.recipe).stem
    result = {**vars(args), "out": None, "date": date, "runs": runs}
    write_json(args.out or RESULTS / f"planted-causes-{data.name}-{recipe}-{date}.json", result)
    for name in shares:
        of_each = [run["experiments"][name] for run in runs]
        seconds = ", ".join(f"{one['explain_seconds']:.1f}" for one in of_each)
        print(f"\n{name} planted; explained in {seconds} s\n\n{cause_table([one['counts'] for one in of_each])}")
    for run in runs:
        print(f"seed {run['seed']}: accuracy {run['accuracy']:.2%}; stronger: {run.get('stronger')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
