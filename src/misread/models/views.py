"""Test-time augmentation: the mean prediction over several views of an image."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from misread.models.ensemble import mean_log_probs


class MeanOverViews(nn.Module):
    """A network that averages its probabilities over several views of each image when it predicts.

    (B, C, H, W) float32 to log probabilities (B, K). In training it is the plain network.
    """

    def __init__(self, network: nn.Module, shift: int, flip: bool) -> None:
        super().__init__()
        self.network, self.shift, self.flip = network, shift, flip

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.network(x)
        return mean_log_probs([self.network(view) for view in views(x, self.shift, self.flip)])


def without_views(network: nn.Module) -> nn.Module:
    """The network inside `MeanOverViews`; any other network itself."""
    return network.network if isinstance(network, MeanOverViews) else network


def views(images: Tensor, shift: int, flip: bool, height: int = -2, width: int = -1) -> Iterator[Tensor]:
    """The images; their shifts by `shift` pixels in four directions, if it is not 0; with `flip` all of these mirrored.

    Pixels from outside repeat those of the edge, as in augmentation. height, width: indices of the dimensions.
    """
    for start in (images, images.flip(width)) if flip else (images,):
        yield start
        for pixels in (shift, -shift) if shift else ():
            yield moved(start, pixels, height)
            yield moved(start, pixels, width)


def view_sources(network: MeanOverViews, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The row and the column that each row (H,) and column (W,) of each view shows, int64, in the order of `views`."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for own_rows, own_columns in views(torch.stack([rows, columns]), network.shift, network.flip):
        yield own_rows[:, 0], own_columns[0]


def moved(images: Tensor, pixels: int, dim: int) -> Tensor:
    """The images shifted by `pixels` along a dimension, towards its end. Their first (or last) row is repeated."""
    size = images.shape[dim]
    rows = (torch.arange(size, device=images.device) - pixels).clamp(0, size - 1)
    return images.index_select(dim, rows)
