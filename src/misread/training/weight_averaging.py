"""The mean of the weights that the last part of a training passes through, which is often better than the last ones."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from misread.training.recipe import WeightAveraging

UPDATES = 50  # enough that more change nothing, few enough to cost nothing


def update_steps(spec: WeightAveraging | None, steps: int) -> range:
    """After which of a training's steps, counted from 1, the weights are let into the average; the last is one."""
    if spec is None:
        return range(0)
    last = max(1, round(spec.last * steps))
    every = max(1, last // UPDATES)
    return range(steps - (last - 1) // every * every, steps + 1, every)


class WeightAverage:
    """The mean of a network's weights, and of its normalization layers' moving statistics, after some steps.

    steps: after which, as `update_steps` gives them; without any the network is left alone.
    Source: Polyak and Juditsky 1992 (doi 10.1137/0330046); Izmailov et al. 2018 (arXiv 1803.05407).
    """

    def __init__(self, network: nn.Module, steps: range) -> None:
        self.steps, self.updates = steps, 0
        # these share memory with the network's, so they follow it wherever an optimizer moves it
        self._live = [t.detach() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
        self._mean: list[Tensor] = []

    def until_update(self, done: int) -> int | None:
        """How many steps after `done` steps the next update is due; None after the last."""
        after = bisect_right(self.steps, done)
        return self.steps[after] - done if after < len(self.steps) else None

    @torch.no_grad()
    def update(self) -> None:
        """Let the network's present weights into the mean."""
        self.updates += 1
        if self.updates == 1:
            self._mean = [t.clone() for t in self._live]
        else:
            torch._foreach_lerp_(self._mean, self._live, 1 / self.updates)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the network has the mean, where there is one yet: to validate or to copy. Training goes on after."""
        own = [t.clone() for t in self._live] if self.updates else []
        self.settle()
        try:
            yield
        finally:
            _copy(own, self._live)

    def settle(self) -> None:
        """Give the network the mean, where there is one, for good."""
        _copy(self._mean, self._live)


@torch.no_grad()
def _copy(values: list[Tensor], to: list[Tensor]) -> None:
    if values:
        torch._foreach_copy_(to, values)
