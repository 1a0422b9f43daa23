"""The backend of a head on a frozen backbone: the features of an image are computed once."""

import torch
from torch import Tensor

from misread.data.load_progress import Lines
from misread.data.mapped_images import Images
from misread.messages import Message
from misread.models.backbone import PretrainedNetwork
from misread.training.recipe import Recipe
from misread.training.torch_backend import TorchBackend


class BackboneBackend(TorchBackend):
    """Trains and applies the head by PyTorch, on images (N, H, W, C) uint8 or features (N, D) float32."""

    def __init__(
        self, network: PretrainedNetwork, device: torch.device, recipe: Recipe | None = None, seed: int = 0
    ) -> None:
        super().__init__(network, device, recipe, seed, note=Message("engine.backbone"))
        self.backbone = network.backbone

    def logits(self, images: Tensor) -> Tensor:
        return super().logits(self._input(images))

    def features(self, images: Tensor) -> Tensor:
        """(N, D) float32: the input of the head's last layer."""
        return super().features(self._input(images))

    def backbone_features(self, images: Images, lines: Lines | None = None) -> Tensor:
        """(N, D) float32 on the device: what the head is trained on."""
        return self.backbone.image_features(images, lines).to(self.device)

    def _input(self, images: Tensor) -> Tensor:
        return self.backbone_features(images.cpu().numpy()) if images.dtype == torch.uint8 else images
