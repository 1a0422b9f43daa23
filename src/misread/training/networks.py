"""Builds the network of a recipe: a single network or an ensemble."""

import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from misread.data.image_set import Split
from misread.data.mapped_images import Images
from misread.errors import RecipeError
from misread.models.backbone import Backbone, PretrainedNetwork, n_features
from misread.models.ensemble import Ensemble
from misread.models.layers import Whitening
from misread.models.load_backbone import load_backbone
from misread.models.network import Network, build_network, to_input
from misread.models.shapes import Shape
from misread.models.views import MeanOverViews
from misread.training.backend import Weights
from misread.training.batches import Examples, as_tensor, scaled_size
from misread.training.memory_check import check_memory
from misread.training.recipe import Recipe

WHITENED_IMAGES = 2000  # that a whitening layer is computed from; more change nothing


def recipe_backbone(recipe: Recipe, trained: bool = False) -> Backbone | None:
    """The recipe's backbone, if it has one. trained: its weights do not matter if the recipe trains them.

    Raises RecipeError: it cannot be loaded; see `load_backbone`.
    """
    spec = recipe.backbone
    if spec is None:
        return None
    return load_backbone(spec.name, spec.size, spec.sha256, pretrained=not (trained and spec.fine_tune))


def recipe_network(
    recipe: Recipe,
    image_shape: tuple[int, int, int],
    n_classes: int,
    train: Images | None = None,
    backbone: Backbone | None = None,
) -> nn.Module:
    """A network with its initial weights, or an `Ensemble` of the recipe's members.

    train:    the training images (N, H, W, C) uint8, which the weights of a `Whitening` layer are computed from.
              Without them these weights are 0, to be loaded.
    backbone: the recipe's, if it is loaded already. A frozen one is shared by all members.
    Each member has the initial weights of a single network with the member's seed. torch's global generator is not
    changed.
    Raises RecipeError: see `build_network`, which names the layer, and `load_backbone`.
    """
    networks: list[nn.Module] = []
    backbone = backbone or recipe_backbone(recipe)
    input_shape: Shape = (n_features(backbone, image_shape),) if backbone else image_shape
    if backbone:
        with torch.device("meta"):
            _build_head(recipe, input_shape, n_classes)  # a layer that needs images is the first thing to say
    check_memory(recipe, input_shape, n_classes, 0 if train is None else len(train))
    with torch.random.fork_rng(devices=[]):
        for k in range(recipe.members):
            torch.manual_seed(recipe.member_seed(k))
            if backbone and recipe.backbone:
                head = _build_head(recipe, input_shape, n_classes)
                networks.append(PretrainedNetwork(backbone, head, frozen=not recipe.backbone.fine_tune))
            else:
                networks.append(build_network(recipe.layers, input_shape, n_classes))
    if not backbone:  # which resizes every image to the size that it needs
        _check_image_scales(recipe, networks[0], image_shape, n_classes)
    whitening = [layer for network in networks for layer in network.modules() if isinstance(layer, Whitening)]
    if whitening and train is not None:
        whitening[0].fit(to_input(as_tensor(_sample(train), torch.device("cpu"))))
        for layer in whitening[1:]:
            layer.load_state_dict(whitening[0].state_dict())
    return joined(networks)


def _sample(images: Images) -> np.ndarray:
    chosen = np.linspace(0, len(images) - 1, min(len(images), WHITENED_IMAGES)).astype(np.int64)
    return np.asarray(images[chosen])


def _check_image_scales(recipe: Recipe, network: nn.Module, image_shape: tuple[int, int, int], n_classes: int) -> None:
    """Raises RecipeError: the network's weights depend on the size of the images, but the recipe changes it."""
    for scale in recipe.image_scales:
        height, width = scaled_size(image_shape, scale)
        same = network
        if (height, width) != image_shape[:2]:
            same = build_network(recipe.layers, (height, width, image_shape[2]), n_classes)
        shapes = ([(name, t.shape) for name, t in n.state_dict().items()] for n in (network, same))
        if not operator.eq(*shapes):
            raise RecipeError(
                "image_scales: the weights of this network depend on the size of the images. Replace its Flatten layer "
                "by GlobalAveragePooling2D or GlobalMaxPooling2D, or leave image_scales out."
            )


def _build_head(recipe: Recipe, input_shape: Shape, n_classes: int) -> Network:
    try:
        return build_network(recipe.layers, input_shape, n_classes)
    except RecipeError as error:
        raise RecipeError(
            f"{error}\nWith a backbone the layers get its {input_shape[0]:,} features instead of images. Use the "
            f"recipe head, or change the layers of the recipe {recipe.name!r}."
        ) from None


def frozen_backbone(network: nn.Module) -> Backbone | None:
    """The backbone of a network, or of an ensemble's members, if it has one that never changes."""
    first = members(network)[0]
    return first.backbone if isinstance(first, PretrainedNetwork) and first.frozen else None


def examples_for(network: nn.Module, device: torch.device, split: Split, window_mib: int | None = None) -> Examples:
    """What the network is trained or validated on: the images of a split, or their features by a frozen backbone.

    window_mib: of the training images; see `Examples.on`.
    """
    if backbone := frozen_backbone(network):
        features, labels = backbone.image_features(split.images).to(device), as_tensor(split.labels, device)
        return Examples(features, labels, torch.arange(len(labels), device=device))
    return Examples.on(device, split.images, split.labels, window_mib)


def joined(networks: Sequence[nn.Module]) -> nn.Module:
    """A single network unchanged, several as an ensemble."""
    return networks[0] if len(networks) == 1 else Ensemble(networks)


def members(network: nn.Module) -> list[nn.Module]:
    """The networks of an ensemble, or the single network: the inverse of `joined`."""
    return list(network.members) if isinstance(network, Ensemble) else [network]


def load_members(network: nn.Module, weights: Sequence[Weights]) -> nn.Module:
    """Load these weights into the first members, and join those. Members without weights are left out."""
    trained = members(network)[: len(weights)]
    for member, own in zip(trained, weights, strict=True):
        member.load_state_dict(own)
    return joined(trained)


def predictor_network(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network that predicts: wrapped in the recipe's test-time augmentation, if it has one."""
    spec = recipe.test_time_augmentation
    return network if spec is None else MeanOverViews(network, spec.shift, spec.flip)
