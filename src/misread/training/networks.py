"""Builds the network of a recipe: a single network or an ensemble."""

from collections.abc import Sequence

import torch
from torch import nn

from misread.models.ensemble import Ensemble
from misread.models.network import build_network
from misread.models.views import MeanOverViews
from misread.training.backend import Weights
from misread.training.recipe import Recipe


def recipe_network(recipe: Recipe, image_shape: tuple[int, int, int], n_classes: int) -> nn.Module:
    """A network with its initial weights, or an `Ensemble` of the recipe's members.

    Each member has the initial weights of a single network with the member's seed. torch's global generator is not
    changed.
    Raises RecipeError, naming the layer: see `build_network`.
    """
    networks = []
    with torch.random.fork_rng(devices=[]):
        for k in range(recipe.members):
            torch.manual_seed(recipe.member_seed(k))
            networks.append(build_network(recipe.layers, image_shape, n_classes))
    return joined(networks)


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
