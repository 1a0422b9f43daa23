"""The average of the weights that a training passes through, which is often better than the last of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """A running average of a network's weights, and of the moving statistics of its normalization layers.

    decay: how much of the average an update keeps. The first updates average plainly, each of n weights counting 1/n,
           until 1/n reaches 1 - decay; from then on the average is exponential. So it never leans on the random
           weights of the start, and with decay = 1 it is the plain mean of all updates to the end.
    Source: plain mean, Polyak and Juditsky 1992 (doi 10.1137/0330046); of the last part of a training, Izmailov et
    al. 2018 (arXiv 1803.05407).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        # tensors that share memory with the network's: they follow it wherever an optimizer moves them
        self._live = [t.detach() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
        self._average = [t.clone() for t in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Let the network's present weights into the average."""
        self.updates += 1
        torch._foreach_lerp_(self._average, self._live, max(1 - self.decay, 1 / self.updates))

    @torch.no_grad()
    def swap(self) -> None:
        """Give the network the average, and keep its own weights in the average's place; twice is as if never.

        Without any update the network keeps what it has: the average begins as a copy of it.
        """
        for mine, its in zip(self._average, self._live, strict=True):
            kept = its.clone()
            its.copy_(mine)
            mine.copy_(kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has the averaged weights: to validate with, or to copy. Training goes on after it."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
