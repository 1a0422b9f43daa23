"""Networks for tests of the page: with real statistics of batch normalisation, and one of every layer."""

import numpy as np
import torch
from torch import nn

from misread.models.layers import BatchNormalization
from misread.training.networks import recipe_network
from misread.training.recipe import Recipe, load_recipe

ACTIVATIONS = ("linear", "relu", "leaky_relu", "tanh", "sigmoid", "softmax", "gelu")


def settled(recipe: Recipe, images: np.ndarray, n_classes: int) -> nn.Module:
    """A network with random weights, also of its batch normalisation, in evaluation mode."""
    network = recipe_network(recipe, images.shape[1:], n_classes, train=images)
    generator = torch.Generator().manual_seed(recipe.seed)
    for module in network.modules():
        if isinstance(module, BatchNormalization):
            with torch.no_grad():
                for tensor, low, high in (
                    (module.weight, 0.5, 1.5), (module.bias, -0.3, 0.3),
                    (module.running_mean, -0.2, 0.2), (module.running_var, 0.3, 2),
                ):  # fmt: skip
                    tensor.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            nn.init.uniform_(module.bias, -0.2, 0.2, generator=generator)
    return network.eval()


def every_layer(activation: str, last: str = "softmax") -> Recipe:
    """A recipe with every type of layer, in windows that do not fit evenly; for images of 13 x 11 x 3."""
    return load_recipe(
        Recipe(),
        {
            "layers": [
                {"type": "Whitening", "filters": 8, "kernel_size": 2, "activation": activation},
                {"type": "Conv2D", "filters": 6, "kernel_size": (3, 2), "strides": (1, 2), "padding": "same",
                 "activation": activation},
                {"type": "MaxPooling2D", "pool_size": (2, 3), "strides": 1, "padding": "same"},
                {"type": "BatchNormalization"},
                {"type": "Residual", "layers": [
                    {"type": "Conv2D", "filters": 6, "kernel_size": 3, "padding": "same", "use_bias": False},
                    {"type": "Activation", "activation": activation},
                    {"type": "Residual", "layers": [{"type": "Dropout", "rate": 0.5}, {"type": "BatchNormalization"}]},
                ]},
                {"type": "AveragePooling2D", "pool_size": 3, "strides": 2, "padding": "same"},
                {"type": "Conv2D", "filters": 5, "kernel_size": 2, "padding": "same", "activation": activation},
                {"type": "MaxPooling2D", "pool_size": (2, 1)},
                {"type": "Flatten"},
                {"type": "Dense", "units": 9, "activation": activation},
                {"type": "BatchNormalization"},
                {"type": "Dense", "units": "classes", "activation": last},
            ]
        },
    )  # fmt: skip


def pooled(kind: str) -> Recipe:
    """A network that ends in global pooling."""
    return load_recipe(
        Recipe(),
        {
            "layers": [
                {"type": "Conv2D", "filters": 7, "kernel_size": 3, "strides": 2, "activation": "relu"},
                {"type": "AveragePooling2D", "pool_size": 2, "strides": 1},
                {"type": kind},
                {"type": "Dense", "units": "classes"},
                {"type": "Activation", "activation": "softmax"},
            ]
        },
    )
