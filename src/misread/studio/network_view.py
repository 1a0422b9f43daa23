"""What a page shows of a network while it is trained: the weights of the first layer, and the share of dead units."""

from base64 import b64encode
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from misread.models.layers import Dense
from misread.models.network import build_network, network_logits
from misread.training.backend import Weights
from misread.training.recipe import Recipe

SHOWN_UNITS = 36
SAMPLE = 128  # images on which a unit must be silent to count as dead


class NetworkView:
    """A copy of a network in training that can be looked at without touching the training.

    sample: (N, H, W, C) uint8, the images on which units are active or dead.
    """

    def __init__(self, recipe: Recipe, image_shape: tuple[int, int, int], n_classes: int, sample: np.ndarray) -> None:
        self.image_shape = image_shape
        self.network = build_network(recipe.layers, image_shape, n_classes).eval()
        self.sample = torch.tensor(sample)

    def first_layer(self, weights: Weights) -> dict[str, Any] | None:
        """The weights of the first layer as pictures; None if they have neither 1 nor 3 channels.

        shape: [units, H, W, C]. pixels: base64 of uint8, where 128 is a weight of 0, and 1 and 255 are minus and
        plus `scale`.
        """
        kernel = self._first_kernel(weights)
        if kernel is None or kernel.shape[-1] not in (1, 3):
            return None
        scale = float(np.abs(kernel).max()) or 1.0
        pixels = (128 + np.round(127 * kernel / scale)).astype(np.uint8)
        return {"shape": list(pixels.shape), "pixels": b64encode(pixels.tobytes()).decode(), "scale": scale}

    def _first_kernel(self, weights: Weights) -> np.ndarray | None:
        """(units, H, W, C) float32, of the first units."""
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Conv2d):
                return weights[f"{name}.weight"][:SHOWN_UNITS].movedim(1, -1).float().cpu().numpy()
            if isinstance(module, Dense):
                flat = weights[f"{name}.weight"][:SHOWN_UNITS].float().cpu().numpy()
                fits = flat.shape[1] == np.prod(self.image_shape)
                return flat.reshape(-1, *self.image_shape) if fits else None
        return None

    @torch.no_grad()
    def dead_units(self, weights: Weights) -> list[dict[str, Any]]:
        """For each layer with ReLU: its name, the number of its units, and of those that are 0 for the whole sample.

        The units of a convolution are its filters.
        """
        self.network.load_state_dict(weights)
        layers = {name: m for name, m in self.network.named_modules() if getattr(m, "activation", "") == "relu"}
        active: dict[str, Tensor] = {}

        def watch(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                active[name] = (output > 0).movedim(1, 0).flatten(1).any(dim=1)

            return hook

        hooks = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
        try:
            network_logits(self.network, self.sample)
        finally:
            for hook in hooks:
                hook.remove()
        return [{"layer": name, "units": len(on), "dead": int((~on).sum())} for name, on in active.items()]
