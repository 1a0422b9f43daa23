"""How often the cause told for a misread image is right: test images with a known cause are planted, and found again.

Run it as `.venv/bin/python benchmarks/planted_causes.py --recipe tutorial-mlp --epochs 5 --seeds 3`.
"""

import argparse
import statistics
import sys
import tempfile
import time
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


def plant(data: ImageSet, network: nn.Module, n: int, seed: int) -> tuple[ImageSet, np.ndarray]:
    """The data with n test images of each kind in place of others, and what each test image is: (N,) kinds."""
    rng = np.random.default_rng(seed)
    planted: dict[str, Planted] = {
        "flipped label": flipped_labels(rng, data, n),
        "blend of two": blends(rng, data, n),
        "relabelled copy": relabelled_copies(rng, data, n),
        "strange picture": strange_pictures(rng, data, n),
        "pushed image": pushed_images(rng, data, n, network),
    }
    images, labels = data.test.images.copy(), data.test.labels.copy()
    kinds = np.full(len(labels), GENUINE, dtype=object)
    places = rng.choice(len(labels), (len(planted), n), replace=False)
    for at, (kind, (new_images, new_labels)) in zip(places, planted.items(), strict=True):
        images[at], labels[at], kinds[at] = new_images, new_labels, kind
    train = (data.train.images, data.train.labels)
    with_planted = ImageSet.from_arrays(*train, test=(images, labels), class_names=data.class_names, name=data.name)
    return with_planted, kinds


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


def measure(
    data: ImageSet, recipe: str, seed: int, n: int, epochs: int | None, other_seeds: int, settings: list[str]
) -> dict[str, Any]:
    """Train, plant, train again by the same seed (so the same network, which the pushed images are for), explain."""

    def train(images: ImageSet, seed: int) -> misread.Run:
        return misread.train(images, recipe, seed=seed, epochs=epochs, settings=settings, out=out, progress=False)

    with tempfile.TemporaryDirectory() as out:
        planted, kinds = plant(data, train(data, seed).network, n, seed)
        run = train(planted, seed)
        others = [train(planted, seed + 1000 + i) for i in range(other_seeds)]
        started = time.perf_counter()
        table = run.misreads.explain(*others).table
        seconds = time.perf_counter() - started
    told = dict(zip(table["index"].tolist(), table["cause"].tolist(), strict=True))
    return {"seed": seed, "explain_seconds": seconds, "counts": count_causes(kinds, told)}


def confusion_table(runs: list[dict[str, Any]]) -> str:
    """Markdown: a row for each kind planted, the mean share of each cause told among its misread images."""
    header = ["planted", "misread", *(str(cause) for cause in Cause)]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for kind in (*EXPECTED, GENUINE):
        rows = [run["counts"][kind] for run in runs]
        misread_of = f"{statistics.fmean(r['misread'] for r in rows):.0f} of {rows[0]['planted']:,}"
        cells = [_share([r[str(cause)] / max(r["misread"], 1) for r in rows]) for cause in Cause]
        right = list(Cause).index(EXPECTED[kind]) if kind in EXPECTED else None
        cells = [f"**{c}**" if i == right else c for i, c in enumerate(cells)]
        lines.append("| " + " | ".join([kind, misread_of, *cells]) + " |")
    return "\n".join(lines)


def _share(shares: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(shares):.0f}" if len(shares) > 1 else ""
    return f"{statistics.fmean(shares):.0%}{spread}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Plant test images with known causes and count the causes told.")
    parser.add_argument("--data", default="mnist", help="a data set's name or path")
    parser.add_argument("--recipe", default="tutorial-mlp", help="a recipe's name or TOML file")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="the seeds are 0 to K-1")
    parser.add_argument("--count", type=int, default=100, help="images planted of each kind")
    parser.add_argument("--others", type=int, default=0, help="runs of other seeds whose opinion counts too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe's setting")
    parser.add_argument("--out", type=Path, metavar="FILE", help="in place of benchmarks/results/planted-causes-...")
    args = parser.parse_args()
    data = misread.load(args.data)
    runs = []
    for seed in range(args.seeds):
        runs.append(measure(data, args.recipe, seed, args.count, args.epochs, args.others, args.set))
        print(f"[{seed + 1}/{args.seeds}]", file=sys.stderr)
    date = time.strftime("%Y-%m-%d")
    recipe = Path(args.recipe).stem
    result = {**vars(args), "out": None, "date": date, "runs": runs}
    write_json(args.out or RESULTS / f"planted-causes-{data.name}-{recipe}-{date}.json", result)
    print(confusion_table(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
