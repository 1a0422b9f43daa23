"""A recipe's network and optimizer in plain PyTorch, with Keras's initial weights; every PyTorch peer trains it."""

from typing import Any

import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def build_network(recipe: dict[str, Any], image_shape: tuple[int, int, int], n_classes: int) -> nn.Sequential:
    """Logits (B, K) of float32 (B, C, H, W): the softmax at the end belongs to the loss. image_shape: (C, H, W)."""
    network = nn.Sequential(*(module for spec in recipe["layers"] for module in build_layer(spec, n_classes)))
    with torch.no_grad():
        network.eval()(torch.zeros(1, *image_shape))  # the lazy layers take their input size from it
    for module in network:
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return network.train()


def build_layer(spec: dict[str, Any], n_classes: int) -> list[nn.Module]:
    """A layer and its activation. Raises KeyError: a layer or an activation that the lessons do not have."""
    arguments = dict(spec)
    kind, activation = arguments.pop("type"), arguments.pop("activation", "linear")
    build = {
        "Flatten": nn.Flatten,
        "Dense": lambda units: nn.LazyLinear(n_classes if units == "classes" else units),
        "Conv2D": lambda filters, kernel_size, padding: nn.LazyConv2d(filters, kernel_size, padding=padding),
        "MaxPooling2D": lambda pool_size, strides: nn.MaxPool2d(pool_size, strides),
        "Dropout": lambda rate: nn.Dropout(rate),
    }[kind]
    layer = build(**arguments)
    return [layer] if activation in ("linear", "softmax") else [layer, ACTIVATIONS[activation]()]


def adam_arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `torch.optim.Adam` for the recipe's optimizer, in torch's fused form."""
    spec = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, **recipe["optimizer"]}
    if spec["name"] != "adam":
        raise ValueError(f"the PyTorch peers train with adam, not {spec['name']}")
    return {
        "lr": spec["learning_rate"],
        "betas": (spec["beta_1"], spec["beta_2"]),
        "eps": spec["epsilon"],
        "fused": True,
    }
