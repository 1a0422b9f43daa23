"""The lesson in plain PyTorch, batches cut from tensors that stay in memory; README.md says what else was tried."""

from collections.abc import Callable
from functools import partial

import torch
from contest import contest
from torch import Tensor
from torch_loop import Batches, train


def from_memory(images: Tensor, labels: Tensor, batch_size: int) -> Callable[[], Batches]:
    """Images kept as bytes, shuffled once an epoch, scaled batch by batch."""
    pixels = images.mul(255).round_().to(torch.uint8)

    def next_batches() -> Batches:
        order = torch.randperm(len(labels))
        for batch, batch_labels in zip(pixels[order].split(batch_size), labels[order].split(batch_size), strict=True):
            yield batch.to(torch.float32).mul_(1 / 255), batch_labels

    return next_batches


if __name__ == "__main__":
    contest(partial(train, make_batches=from_memory, memory_format=torch.channels_last))
