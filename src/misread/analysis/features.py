"""Features: what a network makes of an image before it decides."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from misread.data.mapped_images import Images
from misread.models.network import network_logits
from misread.training.evaluate import BATCH_SIZE, evaluating


def feature_blocks(network: nn.Module, images: Images, device: torch.device) -> Iterator[Tensor]:
    """(N, H, W, C) uint8 -> blocks of (N, D) float32 on `device`, in order, a batch of images at a time.

    A feature is the input of the linear layer that gives the logits, the network's last Dense layer, in evaluation
    mode. Of a network that ends otherwise, which only a module from Python can, the logits stand in.
    """
    layer = _logits_layer(network, images, device)
    for start in range(0, len(images), BATCH_SIZE):
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0])) if layer else None
        try:
            with evaluating(network):
                logits = network_logits(network, torch.tensor(images[start : start + BATCH_SIZE], device=device))
        finally:
            if hook:
                hook.remove()
        yield (seen[-1] if layer else logits).float()


def features(network: nn.Module, images: Images, device: torch.device) -> Tensor:
    """`feature_blocks` in one: (N, D)."""
    return torch.cat(list(feature_blocks(network, images, device)))


def _logits_layer(network: nn.Module, images: Images, device: torch.device) -> nn.Linear | None:
    """The linear layer called last, where it takes flat features and gives as many numbers as there are logits."""
    calls: list[tuple[nn.Linear, torch.Size, torch.Size]] = []
    hooks = [
        module.register_forward_hook(lambda m, inputs, output: calls.append((m, inputs[0].shape, output.shape)))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with evaluating(network):
            logits = network_logits(network, torch.tensor(images[:1], device=device))
    finally:
        for hook in hooks:
            hook.remove()
    if not calls:
        return None
    layer, taken, given = calls[-1]
    return layer if len(taken) == 2 and given == logits.shape else None
