"""Predicting with a network, batch by batch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from misread.data.mapped_images import Images, MappedImages
from misread.engine.chain import Chain, UnknownNetwork
from misread.models.ensemble import Ensemble, mean_log_probs
from misread.models.network import network_logits
from misread.models.views import MeanOverViews, views

PREDICT_BLOCK = 10_000  # images gathered at once, where they lie in a file or are some of many
BATCH_SIZE = 128  # of PyTorch: twice as fast as 1,000 for the CNN of the lesson, whose activations then stay in cache


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
    """(N, H, W, C) uint8 on any device -> (N, K) float32 logits there: by the compiled kernels where they can."""
    match network:  # what is made of networks is predicted by them, so by the kernels too
        case Ensemble():
            return mean_log_probs([predict_logits(member, images) for member in network.members])
        case MeanOverViews():
            seen = views(images, network.shift, network.flip, height=1, width=2)
            return mean_log_probs([predict_logits(network.network, view) for view in seen])
    _, height, width, channels = images.shape
    try:
        if images.device.type != "cpu":
            raise UnknownNetwork("the kernels are for the CPU")
        return Chain(network, (height, width, channels)).predict(images)
    except UnknownNetwork:
        return predict_by_torch(network, images)


def predict_by_torch(network: nn.Module, images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 on any device -> (N, K) float32 logits there, by PyTorch."""
    with evaluating(network):
        return torch.cat([network_logits(network, batch) for batch in images.split(BATCH_SIZE)]).float()


def predict_probs(network: nn.Module, images: Images, device: torch.device) -> np.ndarray:
    """(N, H, W, C) uint8 -> probs (N, K) float32, rows sum to 1. Of images in a file few are read at a time."""
    blocks = [images] if isinstance(images, np.ndarray) else _blocks(images)
    logits = torch.cat([predict_logits(network, as_tensor(block, device)) for block in blocks])
    return logits.softmax(dim=1).cpu().numpy()


def _blocks(images: MappedImages) -> Iterator[np.ndarray]:
    for start in range(0, max(len(images), 1), PREDICT_BLOCK):
        yield images[start : start + PREDICT_BLOCK]


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device; on the CPU the same memory, be it read-only or a memory map. Nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
