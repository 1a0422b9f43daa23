"""Features: what a network makes of an image before it decides."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from misread.data.mapped_images import Images
from misread.engine.chain import Chain, UnknownNetwork
from misread.models.layers import Dense
from misread.models.network import Network, network_logits
from misread.training.evaluate import BATCH_SIZE, evaluating

BLOCK = 1000  # images whose features are in memory at once
WIDEST = 2048  # features, for the kernels' identity: beyond it that costs more than the network


def feature_blocks(network: nn.Module, images: Images, device: torch.device) -> Iterator[Tensor]:
    """(N, H, W, C) uint8 -> blocks of (N, D) float32 on `device`, in order, some images at a time.

    A feature is the input of the linear layer that gives the logits, the network's last Dense layer, in evaluation
    mode. Of a network that ends otherwise, which only a module from Python can, the logits stand in.
    """
    layer = _logits_layer(network, images, device)
    chain = _chain(network, layer, images.shape[1:]) if device.type == "cpu" else None
    for start in range(0, len(images), BLOCK):
        block = torch.tensor(images[start : start + BLOCK], device=device)
        parts = [block] if chain else block.split(BATCH_SIZE)
        yield torch.cat([chain.predict(part) if chain else _by_torch(network, layer, part) for part in parts])


def _chain(network: nn.Module, layer: nn.Linear | None, shape: tuple[int, ...]) -> Chain | None:
    """The compiled kernels, where they know the network; they give logits, which are the last layer's inputs where the
    identity stands in for that layer.
    """
    if not isinstance(network, Network) or layer is not network[-1] or layer.in_features > WIDEST:
        return None
    identity = Dense(layer.in_features, layer.in_features, activation="linear", use_bias=True)
    with torch.no_grad():
        torch.nn.init.eye_(identity.weight)
        torch.nn.init.zeros_(identity.bias)
    height, width, channels = shape
    try:
        return Chain(
            Network(OrderedDict([*list(network.named_children())[:-1], ("features", identity)])),
            (height, width, channels),
        )
    except UnknownNetwork:
        return None


def _by_torch(network: nn.Module, layer: nn.Linear | None, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])) if layer else None
    try:
        with evaluating(network):
            logits = network_logits(network, images)
    finally:
        if hook:
            hook.remove()
    return (seen[-1] if layer else logits).float()


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
