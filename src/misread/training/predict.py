"""Predicts with a trained network, an ensemble, or a network with test-time augmentation."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from misread.data.mapped_images import Images
from misread.models.ensemble import Ensemble, mean_log_probs
from misread.models.views import MeanOverViews, views
from misread.training.backend import Backend, Capabilities
from misread.training.batches import as_tensor
from misread.training.choose_backend import make_backend

PREDICT_BLOCK = 10_000  # images read at once from a file
FEATURES_BLOCK = 1000  # images whose features are in memory at once


class Predictor:
    """Predicts with a network. It creates the backends once, with the current weights of the network.

    network: on `device`. An `Ensemble` or a `MeanOverViews` uses one backend for each network inside.
    image_shape: (H, W, C).
    """

    def __init__(self, network: nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> None:
        self.network, self.device = network, device
        self._backends: dict[nn.Module, Backend] = {
            plain: make_backend(plain, image_shape, device) for plain in _plain_networks(network)
        }

    @property
    def capabilities(self) -> Capabilities:
        """Of the backend that computes; those of an ensemble's members are the same."""
        return next(iter(self._backends.values())).capabilities

    def probs(self, images: Images) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, K) float32, rows sum to 1. Images in a file are read in blocks."""
        if isinstance(images, np.ndarray):
            blocks = [images]
        else:
            starts = range(0, max(len(images), 1), PREDICT_BLOCK)
            blocks = (images[start : start + PREDICT_BLOCK] for start in starts)  # type: ignore[assignment]
        logits = torch.cat([self.logits(as_tensor(block, self.device)) for block in blocks])
        return logits.softmax(dim=1).cpu().numpy()

    def logits(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 on the device -> (N, K) float32 there. Averaged predictions are log probabilities."""
        return self._logits(self.network, images)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        match network:
            case Ensemble():
                return mean_log_probs([self._logits(member, images) for member in network.members])
            case MeanOverViews():
                all_views = views(images, network.shift, network.flip, height=1, width=2)
                return mean_log_probs([self._logits(network.network, view) for view in all_views])
        return self._backends[network].logits(images)

    def feature_blocks(self, images: Images) -> Iterator[Tensor]:
        """(N, H, W, C) uint8 -> blocks of (n, D) float32 on the device, in order; see `Backend.features`.

        An ensemble gives the features of its last member.
        """
        backend = list(self._backends.values())[-1]
        for start in range(0, len(images), FEATURES_BLOCK):
            yield backend.features(as_tensor(images[start : start + FEATURES_BLOCK], self.device))

    def features(self, images: Images) -> Tensor:
        """All `feature_blocks` as one tensor (N, D)."""
        return torch.cat(list(self.feature_blocks(images)))


def _plain_networks(network: nn.Module) -> Iterator[nn.Module]:
    match network:
        case Ensemble():
            for member in network.members:
                yield from _plain_networks(member)
        case MeanOverViews():
            yield from _plain_networks(network.network)
        case _:
            yield network
