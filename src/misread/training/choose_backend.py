"""Chooses the backend for a network."""

import torch
from torch import nn

from misread.engine.chain import UnknownNetwork
from misread.messages import Message
from misread.models.backbone import PretrainedNetwork
from misread.training.backbone_backend import BackboneBackend
from misread.training.backend import Backend
from misread.training.kernel_backend import KernelBackend
from misread.training.ranks import current_ranks
from misread.training.ranks_backend import RanksBackend
from misread.training.recipe import Recipe
from misread.training.torch_backend import TorchBackend


def make_backend(
    network: nn.Module,
    image_shape: tuple[int, int, int],
    device: torch.device,
    recipe: Recipe | None = None,
    seed: int = 0,
) -> Backend:
    """The backend for a network on `device`: the kernels if they support it, else PyTorch. Nothing else chooses one.

    Several ranks train by PyTorch.
    image_shape: (H, W, C). recipe: needed for training. seed: of dropout.
    """
    ranks = current_ranks()
    if ranks is not None and recipe is not None:
        return RanksBackend(network, device, recipe, seed, ranks)
    if isinstance(network, PretrainedNetwork) and network.frozen:
        return BackboneBackend(network, device, recipe, seed)
    if device.type != "cpu":
        return TorchBackend(network, device, recipe, seed)
    try:
        return KernelBackend(network, image_shape, recipe, seed)
    except UnknownNetwork as unknown:
        return TorchBackend(network, device, recipe, seed, note=Message("engine.not-kernels", why=unknown.args[0]))
