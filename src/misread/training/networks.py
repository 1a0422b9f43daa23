"""The network that a recipe asks for, be it one or several that predict as one."""

from collections.abc import Sequence

import torch
from torch import nn

from misread.models.ensemble import Ensemble
from misread.models.network import build_network
from misread.models.views import MeanOverViews
from misread.training.backend import Weights
from misread.training.recipe import Recipe


def recipe_network(recipe: Recipe, image_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """A network with the weights that its training begins with, or an `Ensemble` of the recipe's members.

    Each member has the weights that a single network with its seed begins with. torch's global generator is left as
    it is.
    Raises RecipeError, naming the layer: see `build_network`.
    """
    networks = []
    with torch.random.fork_rng(devices=[]):
        for k in range(recipe.members):
            torch.manual_seed(recipe.member_seed(k))
            networks.append(build_network(recipe.layers, image_shape, n_classes))
    return joined(networks)


def joined(networks: Sequence[nn.Module]) -> nn.Module:
    """One network as it is, several as an ensemble."""
    return networks[0] if len(networks) == 1 else Ensemble(networks)


def members(network: nn.Module) -> list[nn.Module]:
    """The networks that were joined."""
    return list(network.members) if isinstance(network, Ensemble) else [network]


def load_members(network: nn.Module, weights: Sequence[Weights]) -> nn.Module:
    """Give the first members these weights. Returns what predicts with them: members without weights stay out."""
    trained = members(network)[: len(weights)]
    for member, own in zip(trained, weights, strict=True):
        member.load_state_dict(own)
    return joined(trained)


def predictor_network(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The network that predicts: with the recipe's test-time augmentation around it, where there is one."""
    spec = recipe.test_time_augmentation
    return network if spec is None else MeanOverViews(network, spec.shift, spec.flip)
