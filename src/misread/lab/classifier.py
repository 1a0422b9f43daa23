"""A run's network as one module from images to probabilities, as programs outside misread want it."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from misread.models.backbone import PretrainedNetwork
from misread.models.network import network_logits
from misread.runs.run import Run


class Classifier(nn.Module):
    """(N, H, W, C) uint8 to (N, K) float32 probabilities. Scaling, members and views are inside.

    network: in evaluation mode, on the CPU.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        # frozen backbones are none of the network's own modules, and would be missing from the exported file
        self.backbones = nn.ModuleList(m.backbone for m in network.modules() if isinstance(m, PretrainedNetwork))

    def forward(self, images: Tensor) -> Tensor:
        return network_logits(self.network, images).softmax(dim=1)


def cpu_network(run: Run) -> nn.Module:
    """The run's network, or a copy of it on the CPU if it is elsewhere."""
    return run.network if run.device.type == "cpu" else copied(run.network).cpu()


def copied(network: nn.Module) -> nn.Module:
    """A copy that can be moved and changed."""
    with quiet_torch():  # a backbone from a file of torch.export warns of its own parts
        return copy.deepcopy(network)


def exported_program(network: nn.Module, image_shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    """The classifier of a network as torch.export has it, for any number of images.

    image_shape: (H, W, C). Its weights need no gradients.
    """
    classifier = Classifier(copied(network)).eval().requires_grad_(False)
    images = torch.zeros(2, *image_shape, dtype=torch.uint8)
    with quiet_torch():
        return torch.export.export(classifier, (images,), dynamic_shapes=({0: torch.export.Dim("N")},))


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Without the notes of torch's exporters about their own parts, which no user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
