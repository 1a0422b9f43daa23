"""Ensembles: the mean prediction of several networks."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def mean_log_probs(logits: Sequence[Tensor]) -> Tensor:
    """Logits (B, K) of several predictions for the same images -> (B, K): the log of their mean probabilities.

    Its softmax is this mean, so it can be used like the logits of a network.
    """
    return torch.stack([x.log_softmax(dim=1) for x in logits]).logsumexp(dim=0) - math.log(len(logits))


class Ensemble(nn.Module):
    """Networks of one task whose probabilities are averaged: (B, C, H, W) float32 to log probabilities (B, K).

    Its state dict has the weights of the members, with the prefixes `members.0.`, `members.1.` and so on.
    Source: Lakshminarayanan et al. 2017 (arXiv 1612.01474).
    """

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        return mean_log_probs([member(x) for member in self.members])
