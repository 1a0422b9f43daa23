"""Predicting with a network, batch by batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from misread.models.network import network_logits

BATCH_SIZE = 1000  # large enough that a step's fixed cost is lost in it, small enough to stay in cache


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Dropout off, moving averages used, no gradients; afterwards the network is as it was."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(was_training)


def predict_logits(network: nn.Module, images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 on any device -> (N, K) float32 logits there."""
    with evaluating(network):
        return torch.cat([network_logits(network, batch) for batch in images.split(BATCH_SIZE)]).float()


def predict_probs(network: nn.Module, images: np.ndarray, device: torch.device) -> np.ndarray:
    """(N, H, W, C) uint8 -> probs (N, K) float32, rows sum to 1."""
    logits = predict_logits(network, torch.tensor(images, device=device))
    return logits.softmax(dim=1).cpu().numpy()
