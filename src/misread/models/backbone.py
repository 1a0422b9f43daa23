"""A pretrained network in front: images in, features out; and a head that makes classes of them."""

from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misread.data.feature_store import FeatureStore
from misread.data.load_progress import Lines
from misread.data.mapped_images import Images
from misread.errors import RecipeError
from misread.models.network import Network, to_input


class Backbone(nn.Module):
    """Features of images: (B, C, H, W) float32 in [0, 1] to (B, D) float32.

    network:  takes `channels` channels of `size` (H, W), normalised by `mean` and `std` (one value a channel).
    name:     as in a recipe. sha256: of the weights and of everything here that changes the features.
    mode:     how images are resized, `bilinear` or `bicubic`.
    Grey images get their one channel repeated; of colour images a grey network gets the mean of the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        sha256: str,
        channels: int,
        size: tuple[int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        mode: str,
    ) -> None:
        super().__init__()
        self.network, self.name, self.sha256 = network, name, sha256
        self.channels, self.size, self.mode = channels, size, mode
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.channels:
            x = x.mean(dim=1, keepdim=True).expand(-1, self.channels, -1, -1)
        if tuple(x.shape[-2:]) != self.size:
            x = F.interpolate(x, self.size, mode=self.mode, antialias=True).clamp(0, 1)  # bicubic may overshoot
        features: Tensor = self.network((x - self.mean) / self.std)
        return features

    def image_features(self, images: Images, lines: Lines | None = None) -> Tensor:
        """Images as loaded, (N, H, W, C) uint8, to features (N, D) float32 on the CPU; known ones from the cache.

        lines: called with lines of text about the progress.
        """
        return torch.from_numpy(self._store.features(images, self._compute, lines))

    @cached_property
    def _store(self) -> FeatureStore:
        return FeatureStore(self.name, self.sha256)

    def _compute(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = to_input(torch.from_numpy(np.ascontiguousarray(images)).to(self.mean.device))
            features: np.ndarray = self(x.contiguous()).float().cpu().numpy()
            return features


class PretrainedNetwork(nn.Module):
    """A backbone and a head. Images (B, C, H, W) float32 in [0, 1], or features (B, D) float32, to logits (B, K).

    frozen: the backbone never changes, and its weights are not among the weights of this module. Otherwise both are
            trained.
    """

    def __init__(self, backbone: Backbone, head: Network, frozen: bool) -> None:
        super().__init__()
        self.frozen = frozen
        self._backbone = (backbone,)  # in a tuple, so that torch does not count its weights to this module
        if frozen:
            backbone.eval().requires_grad_(False)
        else:
            self.trained_backbone = backbone
        self.head = head

    @property
    def backbone(self) -> Backbone:
        return self._backbone[0]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x if x.ndim == 2 else self.backbone(x))
        return logits

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Called by torch to move a module to a device. It must move the frozen backbone, too."""
        if self.frozen:
            self.backbone._apply(fn, recurse)
        moved: Any = super()._apply(fn, recurse)
        return moved


def n_features(backbone: Backbone, image_shape: tuple[int, int, int]) -> int:
    """The number of features D. Raises RecipeError: the network cannot be applied to (H, W, C) images."""
    height, width, channels = image_shape
    try:
        with torch.inference_mode():
            x = torch.zeros(2, channels, height, width, device=backbone.mean.device)
            features = backbone.eval()(x)
    except Exception as error:
        size = "x".join(map(str, backbone.size))
        raise RecipeError(
            f"The backbone {backbone.name} failed for two images of {backbone.channels} channels and {size} pixels: "
            f"{error}\nUse another backbone.size, or for a .pt2 file one that was exported for any number of images."
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise RecipeError(f"The backbone {backbone.name} gives {found} for two images, but must give features (2, D).")
    return int(features.shape[1])
