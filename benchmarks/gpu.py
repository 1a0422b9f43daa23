"""Seconds an epoch on a CUDA device: misread beside plain PyTorch, compiled with CUDA graphs and not compiled.

Run it as `python benchmarks/gpu.py DATA.npz --recipes tutorial-mlp fast --out results.json` where torch sees a CUDA
device. DATA.npz has Keras's keys. All train the same layers from bytes on the device, without augmentation.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import misread
from misread.training.networks import recipe_network
from misread.training.recipe import Adam, AdamW, Recipe, load_recipe

Epochs = Callable[[], tuple[list[float], float]]  # trains; returns the seconds of each epoch and the test accuracy


def main() -> int:
    args = parse_arguments()
    data = misread.load(args.data)
    results = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__, "misread": misread.__version__,
        "epochs": args.epochs, "rounds": args.rounds, "trainings": {},
    }  # fmt: skip
    for name in args.recipes:
        recipe = load_recipe(name)
        plain = recipe.replace(augmentation=None, epochs=args.epochs, min_steps=0)
        contestants: dict[str, Epochs] = {
            "misread": lambda recipe=plain: by_misread(data, recipe),
            "plain PyTorch": lambda recipe=plain: by_pytorch(data, recipe, compiled=False),
        }
        if recipe.augmentation is not None:
            augmented = recipe.replace(epochs=args.epochs, min_steps=0)
            contestants["misread, augmented"] = lambda recipe=augmented: by_misread(data, recipe)
        if name in args.compile:
            contestants["compiled PyTorch"] = lambda recipe=plain: by_pytorch(data, recipe, compiled=True)
        runs: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in contestants}
        for _ in range(args.rounds):
            for contestant, train in contestants.items():
                seconds, accuracy = train()
                runs[contestant].append({"epochs": seconds, "accuracy": accuracy})
        for contestant, measured in runs.items():
            print(f"{name:16} {contestant:20} {describe(measured)}", flush=True)
        results["trainings"][name] = runs
        if args.out:
            args.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Seconds an epoch on a CUDA device, beside plain PyTorch.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipes", nargs="+", required=True)
    parser.add_argument("--compile", nargs="*", default=[], metavar="RECIPE", help="also compare with torch.compile")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def describe(measured: list[dict[str, Any]]) -> str:
    warm = [statistics.median(run["epochs"][1:]) for run in measured]
    return (
        f"warm epoch {statistics.median(warm):.4f} s ({min(warm):.4f} to {max(warm):.4f}), "
        f"first {measured[0]['epochs'][0]:.2f} s, accuracy {measured[-1]['accuracy']:.2%}"
    )


def by_misread(data: misread.ImageSet, recipe: Recipe) -> tuple[list[float], float]:
    with tempfile.TemporaryDirectory() as out:
        run = misread.train(data, recipe, out=out, device="cuda", progress=False)
        return [float(s) for s in run.history["seconds"]], run.metrics["test"]["accuracy"]


def by_pytorch(data: misread.ImageSet, recipe: Recipe, compiled: bool) -> tuple[list[float], float]:
    """Whole batches from bytes on the device, channels-last, autocast, a fused optimizer."""
    device = torch.device("cuda")
    images = torch.from_numpy(data.train.images[:]).to(device)
    labels = torch.from_numpy(data.train.labels).to(device)
    # misread carves its validation images from train, if the recipe says so
    count = len(labels) - (round(recipe.validation.fraction * len(labels)) if recipe.validation.name == "carve" else 0)
    network = recipe_network(recipe, images.shape[1:], data.n_classes, data.train.images)
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(recipe, network)
    mixed = recipe.precision == "mixed"

    def loss_of(batch: Tensor, batch_labels: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
            logits = network(batch.movedim(-1, 1).to(torch.float32).mul(1 / 255))
        return F.cross_entropy(logits.float(), batch_labels, label_smoothing=recipe.loss.label_smoothing)

    forward = torch.compile(loss_of, mode="reduce-overhead") if compiled else loss_of
    seconds = []
    for _ in range(recipe.epochs):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for rows in torch.randperm(count, device=device).split(recipe.batch_size):
            optimizer.zero_grad()
            forward(images[rows], labels[rows]).backward()
            optimizer.step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds, test_accuracy(network, data)


def make_optimizer(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    spec, parameters = recipe.optimizer, list(network.parameters())
    if isinstance(spec, Adam | AdamW):
        return torch.optim.Adam(parameters, spec.learning_rate, (spec.beta_1, spec.beta_2), spec.epsilon, fused=True)
    return torch.optim.SGD(parameters, spec.learning_rate, momentum=0.9, nesterov=True, fused=True)


@torch.inference_mode()
def test_accuracy(network: nn.Module, data: misread.ImageSet) -> float:
    images, labels = torch.from_numpy(data.test.images[:]), torch.from_numpy(data.test.labels)
    network.eval()
    right = 0
    for batch, batch_labels in zip(images.split(1000), labels.split(1000), strict=True):
        logits = network(batch.cuda().movedim(-1, 1).to(torch.float32).mul(1 / 255))
        right += int((logits.argmax(1).cpu() == batch_labels).sum())
    return right / len(labels)


if __name__ == "__main__":
    sys.exit(main())
