"""Predicting an image as the mean over several views of it: test-time augmentation."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from misread.models.ensemble import mean_log_probs


class MeanOverViews(nn.Module):
    """A network that, outside training, predicts from each image and from copies of it moved by a few pixels.

    The probabilities of the views are averaged; (B, C, H, W) float32 to log probabilities (B, K). In training it is
    the network itself.
    """

    def __init__(self, network: nn.Module, shift: int, flip: bool) -> None:
        super().__init__()
        self.network, self.shift, self.flip = network, shift, flip

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.network(x)
        return mean_log_probs([self.network(view) for view in views(x, self.shift, self.flip)])


def views(images: Tensor, shift: int, flip: bool, height: int = -2, width: int = -1) -> Iterator[Tensor]:
    """The images; moved by `shift` pixels up, down, left and right, where it is not 0; and with `flip` all mirrored.

    What comes in at a side repeats that side's pixels, as in augmentation. height, width: these dimensions' places.
    """
    for start in (images, images.flip(width)) if flip else (images,):
        yield start
        for pixels in (shift, -shift) if shift else ():
            yield moved(start, pixels, height)
            yield moved(start, pixels, width)


def moved(images: Tensor, pixels: int, dim: int) -> Tensor:
    """The images moved by so many pixels along a dimension, towards its end; their first (or last) row is repeated."""
    size = images.shape[dim]
    rows = (torch.arange(size, device=images.device) - pixels).clamp(0, size - 1)
    return images.index_select(dim, rows)
