"""Builds the network of a recipe: a single network or an ensemble."""

from collections.abc import Sequence

import torch
from torch import nn

from misread.data.image_set import Split
from misread.errors import RecipeError
from misread.models.backbone import Backbone, PretrainedNetwork, n_features
from misread.models.ensemble import Ensemble
from misread.models.load_backbone import load_backbone
from misread.models.network import Network, Shape, build_network
from misread.models.views import MeanOverViews
from misread.training.backend import Weights
from misread.training.batches import Examples, as_tensor
from misread.training.recipe import Recipe


def recipe_backbone(recipe: Recipe, trained: bool = False) -> Backbone | None:
    """The recipe's backbone, if it has one. trained: its weights do not matter if the recipe trains them.

    Raises RecipeError: it cannot be loaded; see `load_backbone`.
    """
    spec = recipe.backbone
    if spec is None:
        return None
    return load_backbone(spec.name, spec.size, spec.sha256, pretrained=not (trained and spec.fine_tune))


def recipe_network(
    recipe: Recipe, image_shape: tuple[int, int, int], n_classes: int, backbone: Backbone | None = None
) -> nn.Module:
    """A network with its initial weights, or an `Ensemble` of the recipe's members.

    backbone: the recipe's, if it is loaded already. A frozen one is shared by all members.
    Each member has the initial weights of a single network with the member's seed. torch's global generator is not
    changed.
    Raises RecipeError: see `build_network`, which names the layer, and `load_backbone`.
    """
    networks: list[nn.Module] = []
    backbone = backbone or recipe_backbone(recipe)
    input_shape: Shape = (n_features(backbone, image_shape),) if backbone else image_shape
    with torch.random.fork_rng(devices=[]):
        for k in range(recipe.members):
            torch.manual_seed(recipe.member_seed(k))
            if backbone and recipe.backbone:
                head = _build_head(recipe, input_shape, n_classes)
                networks.append(PretrainedNetwork(backbone, head, frozen=not recipe.backbone.fine_tune))
            else:
                networks.append(build_network(recipe.layers, input_shape, n_classes))
    return joined(networks)


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


def examples_for(network: nn.Module, device: torch.device, split: Split) -> Examples:
    """What the network is trained or validated on: the images of a split, or their features by a frozen backbone."""
    if backbone := frozen_backbone(network):
        features, labels = backbone.image_features(split.images).to(device), as_tensor(split.labels, device)
        return Examples(features, labels, torch.arange(len(labels), device=device))
    return Examples.on(device, split.images, split.labels)


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
