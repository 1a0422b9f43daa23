"""What an epoch must take at least on a machine, were its network dense: README.md has the arithmetic.

Run as a script it prints the work of an epoch of each recipe that is named, as JSON.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

STATES = {"adam": 2, "adamw": 2, "sgd": 0, "rmsprop": 1}  # tensors that an optimizer keeps beside the weights
MNIST = {"image_shape": (28, 28, 1), "n_classes": 10, "n_train": 60_000}


@dataclass(frozen=True)
class Work:
    """Of one epoch. flops: of all matrix products. optimizer_bytes: read and written in moving the weights."""

    flops: int
    optimizer_bytes: int
    parameters: int
    steps: int


def limit_seconds(work: Work, flops_rate: float, copy_rate: float) -> float:
    """The matrix products at the machine's rate for them, then the optimizer at its rate for copying."""
    return work.flops / flops_rate + work.optimizer_bytes / copy_rate


def epoch_work(recipe_name: str, image_shape: tuple[int, int, int], n_classes: int, n_train: int) -> Work:
    """The work of an epoch on n_train images, of which a recipe may keep some for validation.

    A layer with weights costs two operations a weight and place where the weight is used, forward and again for the
    gradient of the weights; a third time for the gradient of its inputs, which the first layer does not need.
    """
    from torch import nn

    import misread
    from misread.models.network import build_network

    recipe = misread.load_recipe(recipe_name)
    n = n_train if recipe.validation.name == "show-test" else round(n_train * (1 - recipe.validation.fraction))
    network = build_network(recipe.layers, image_shape, n_classes)
    forward = [
        2 * layer.weight.numel() * math.prod(shape[:-1])  # shape (H, W, C): once at each place of the output
        for layer, shape in zip(network, network.output_shapes, strict=True)
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    parameters = sum(p.numel() for p in network.parameters())
    steps = math.ceil(n / recipe.batch_size)
    return Work(
        flops=n * (3 * sum(forward) - forward[0]),
        optimizer_bytes=steps * parameters * bytes_a_weight(recipe.optimizer),
        parameters=parameters,
        steps=steps,
    )


def bytes_a_weight(optimizer: Any) -> int:
    """float32 weight, gradient and states read, weight and states written."""
    states = STATES[optimizer.name] + bool(getattr(optimizer, "momentum", 0)) + getattr(optimizer, "centered", False)
    return 4 * ((2 + states) + (1 + states))


def check_by_hand() -> None:
    """The tutorial MLP and CNN worked out by hand. Raises AssertionError: the code says otherwise."""
    mlp = epoch_work("tutorial-mlp", **MNIST)
    first, last = 2 * 100 * 784 * 1000, 2 * 100 * 1000 * 10  # a batch of 100 through each layer, once
    parameters = 784 * 1000 + 1000 + 1000 * 10 + 10
    assert mlp == Work(600 * (2 * first + 3 * last), 600 * parameters * 28, parameters, 600), mlp

    cnn = epoch_work("tutorial-cnn", **MNIST)
    first, *others = (
        2 * 32 * (5 * 5 * 1) * 32 * (28 * 28),  # a batch of 32 through Conv2D 5x5 from 1 to 32 channels on 28x28
        2 * 32 * (2 * 2 * 32) * 64 * (14 * 14),  # Conv2D 2x2 from 32 to 64 channels on 14x14
        2 * 32 * (7 * 7 * 64) * 1000,
        2 * 32 * 1000 * 10,
    )
    parameters = (25 * 32 + 32) + (128 * 64 + 64) + (3136 * 1000 + 1000) + (1000 * 10 + 10)
    assert cnn == Work(1875 * (2 * first + 3 * sum(others)), 1875 * parameters * 28, parameters, 1875), cnn


def geometry(data: Path) -> dict[str, Any]:
    """The arguments of `epoch_work` from an .npz with Keras's keys."""
    with np.load(data) as arrays:
        shape, labels = arrays["x_train"].shape, arrays["y_train"]
    return {"image_shape": (*shape[1:], 1)[:3], "n_classes": int(labels.max()) + 1, "n_train": shape[0]}


if __name__ == "__main__":
    check_by_hand()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    sizes = geometry(args.data)
    print(json.dumps({name: asdict(epoch_work(name, **sizes)) for name in args.recipes}))
