"""The lesson in plain PyTorch, batches from a DataLoader as in PyTorch's own MNIST example on a CPU."""

from collections.abc import Callable
from functools import partial

import torch
from contest import contest
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch_loop import Batches, train


def from_a_loader(images: Tensor, labels: Tensor, batch_size: int) -> Callable[[], Batches]:
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)
    return lambda: loader


if __name__ == "__main__":
    contest(partial(train, make_batches=from_a_loader, memory_format=torch.contiguous_format))
