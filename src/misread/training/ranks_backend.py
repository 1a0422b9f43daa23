"""The PyTorch backend of several ranks: each computes its share of every batch, and the gradients are added up."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from misread.messages import Message
from misread.models.layers import BatchNormalization
from misread.training.losses import cross_entropy, make_targets
from misread.training.ranks import Ranks
from misread.training.recipe import Recipe
from misread.training.torch_backend import TorchBackend

NOTE = Message("engine.not-kernels", why=Message("engine.ranks"))


class RanksBackend(TorchBackend):
    """Takes the steps that one rank would take on the complete batches, up to rounding.

    The mean and variance of a BatchNormalization layer are those of the complete batch. A Dropout layer draws for the
    complete batch too, and each rank uses its part; on a GPU this draw differs from that of a single rank.
    """

    def __init__(self, network: nn.Module, device: torch.device, recipe: Recipe, seed: int, ranks: Ranks) -> None:
        super().__init__(network, device, recipe, seed, note=NOTE)
        self.ranks = ranks
        self.graphed_steps = None  # a graph cannot wait for other ranks

    def _take_step(
        self, images: Tensor, labels: Tensor, rate: float | Tensor, number: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        share, total = self.ranks.share(len(labels)), len(labels)
        images, labels = images[share], labels[share]
        with _as_one_batch(self.network, self.ranks, share, total):
            logits = self._training_logits(images)
        targets = make_targets(labels, self.loss, logits.shape[1])
        mean = cross_entropy(logits.float(), targets, self.loss.label_smoothing) if len(labels) else logits.sum()
        loss = mean * (len(labels) / total)
        self.optimizer.zero_grad()
        loss.backward()
        correct = (logits.argmax(dim=1) == labels).sum()
        loss, correct = self._add_up(loss.detach(), correct)
        self.optimizer.step(rate, number)
        return loss, correct

    def _add_up(self, loss: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the gradients of all ranks, and with them their loss and number of correct predictions."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([*(g.flatten() for g in grads), loss.reshape(1), correct.float().reshape(1)])
        self.ranks.sum(flat)
        *sums, loss, correct = flat.split([*(g.numel() for g in grads), 1, 1])
        for parameter, grad, total in zip(parameters, grads, sums, strict=True):
            parameter.grad = torch.empty_like(grad).copy_(total.view(grad.shape))
        return loss.reshape(()), correct.reshape(()).long()


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all ranks. The loss is a sum over ranks too, so its gradients are added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = x.contiguous().clone()
        ranks.sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        ctx.ranks.sum(total)
        return total, None


@contextmanager
def _as_one_batch(network: nn.Module, ranks: Ranks, share: slice, total: int) -> Iterator[None]:
    """Inside the block, layers that look at the whole batch, or draw for it, see the batch of all ranks."""
    forwards: dict[nn.Module, Callable[[Tensor], Tensor]] = {}
    for module in network.modules():
        if isinstance(module, BatchNormalization):
            forwards[module] = partial(_normalised, module, ranks, total)
        elif isinstance(module, nn.Dropout) and module.p > 0:
            forwards[module] = partial(_dropped, module.p, share, total)
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module in forwards:
            del module.forward  # that of its class again


def _normalised(layer: BatchNormalization, ranks: Ranks, total: int, x: Tensor) -> Tensor:
    """`BatchNormalization.forward` in training, of a share (B, C, ...) of `total` images."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    assert layer.momentum is not None
    values, count = x.float(), total * math.prod(x.shape[2:])
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    others = [0, *range(2, x.ndim)]
    if count == 1:  # no variance: as in the layer, the moving averages count
        batch_mean, batch_variance = mean.clone(), variance.clone()
        centred = values - batch_mean.view(shape)
    else:
        batch_mean = _Sum.apply(values.sum(dim=others), ranks) / count
        centred = values - batch_mean.view(shape)
        batch_variance = _Sum.apply(centred.square().sum(dim=others), ranks) / count
        with torch.no_grad():
            mean.lerp_(batch_mean, layer.momentum)
            variance.lerp_(batch_variance, layer.momentum)
    scaled = centred * (batch_variance + layer.eps).rsqrt().view(shape)
    return (scaled * layer.weight.view(shape) + layer.bias.view(shape)).to(x.dtype)


def _dropped(rate: float, share: slice, total: int, x: Tensor) -> Tensor:
    """Dropout of a share of `total` images, by the draws that a single rank on a CPU makes for all of them."""
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    kept = torch.empty((total, *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=layout)
    return x * (kept.bernoulli_(1 - rate).div_(1 - rate))[share]
