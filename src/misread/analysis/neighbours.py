"""Nearest neighbours: an exact search by blocked matrix products."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096  # queries and points compared at once: 64 MiB of distances


@dataclass(frozen=True)
class Neighbours:
    """The nearest points of Q queries, the nearest first.

    positions: (Q, k) int64, each neighbour's position among the points.
    distances: (Q, k) float32, Euclidean.
    """

    positions: np.ndarray
    distances: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def without(self, own: np.ndarray) -> "Neighbours":
        """One neighbour fewer for each query: without the point `own` (Q,), or the last if `own` is not there."""
        keep = self.positions != own[:, None]
        keep[keep.all(axis=1), -1] = False
        shape = (len(self), max(self.positions.shape[1] - 1, 0))
        return Neighbours(self.positions[keep].reshape(shape), self.distances[keep].reshape(shape))

    def __getitem__(self, queries: slice) -> "Neighbours":
        return Neighbours(self.positions[queries], self.distances[queries])


def nearest(
    queries: np.ndarray | Tensor, points: np.ndarray | Tensor | Iterable[np.ndarray | Tensor], k: int
) -> Neighbours:
    """The k nearest points of every query by Euclidean distance; all points if there are fewer than k.

    queries: (Q, D) floats. points: (N, D), or consecutive blocks of them, of which one is in memory at a time.
    Every distance is computed, as |q|² - 2qp + |p|² in the arrays' precision. Points whose distances differ by less
    than the rounding error may be in any order.
    """
    asked = torch.as_tensor(queries)
    squares = asked.new_full((len(asked), k), torch.inf)  # less |q|², which is the same for all points
    found = torch.full((len(asked), k), -1, device=asked.device)
    start = 0
    for block in [points] if isinstance(points, np.ndarray | Tensor) else points:
        for piece in torch.as_tensor(block).to(asked.device).split(BLOCK):
            point_squares = piece.square().sum(dim=1)
            for first in range(0, len(asked), BLOCK):
                rows = slice(first, first + BLOCK)
                compared = torch.addmm(point_squares, asked[rows], piece.T, alpha=-2)
                better, where = compared.topk(min(k, len(piece)), largest=False)
                merged = torch.cat([squares[rows], better], dim=1)
                squares[rows], order = merged.topk(k, largest=False)
                found[rows] = torch.cat([found[rows], where + start], dim=1).gather(1, order)
            start += len(piece)
    k = min(k, start)
    squares = squares[:, :k] + asked.square().sum(dim=1, keepdim=True)
    return Neighbours(found[:, :k].cpu().numpy(), squares.clamp(min=0).sqrt().float().cpu().numpy())
