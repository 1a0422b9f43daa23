"""The lesson as a plain PyTorch loop; how batches are made is the caller's."""

import time
from collections.abc import Callable, Iterable

import numpy
import torch
import torch.nn.functional as F
from contest import Lesson, Outcome, in_batches, read_data, read_recipe
from torch import Tensor, nn
from torch_network import adam_arguments, build_network

Batches = Iterable[tuple[Tensor, Tensor]]  # of one epoch: float32 images in [0, 1] and labels
# (images (N, 1, H, W) float32 in [0, 1], labels (N,), batch size) -> what gives the batches of the next epoch
MakeBatches = Callable[[Tensor, Tensor, int], Callable[[], Batches]]


def train(lesson: Lesson, make_batches: MakeBatches, memory_format: torch.memory_format) -> Outcome:
    recipe = read_recipe(lesson)
    images, labels, test_images, test_labels = map(torch.from_numpy, read_data(lesson))
    images, test_images = images.movedim(-1, 1), test_images.movedim(-1, 1)
    torch.manual_seed(lesson.seed)
    validate_seconds = 0.0
    epoch_seconds = []
    started = time.perf_counter()
    network = build_network(recipe, images.shape[1:], n_classes=int(labels.max()) + 1).to(memory_format=memory_format)
    optimizer = torch.optim.Adam(network.parameters(), **adam_arguments(recipe))
    next_batches = make_batches(images, labels, recipe["batch_size"])
    predict = in_batches(lambda batch: predict_batch(network, batch), test_images)
    for _ in range(lesson.epochs):
        epoch_started = time.perf_counter()
        train_epoch(network, optimizer, next_batches())
        validate_started = time.perf_counter()
        accuracy = (predict(len(test_images), 1000).argmax(1) == test_labels.numpy()).mean()
        epoch_seconds.append(validate_started - epoch_started)
        validate_seconds += time.perf_counter() - validate_started
    return Outcome(
        epoch_seconds=epoch_seconds,
        fit_seconds=time.perf_counter() - started - validate_seconds,
        test_accuracy=float(accuracy),
        versions={"torch": torch.__version__, "numpy": numpy.__version__},
        n_test=len(test_images),
        predict=predict,
    )


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
    network.train()
    for images, labels in batches:
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()


@torch.inference_mode()
def predict_batch(network: nn.Module, images: Tensor) -> Tensor:
    return network.eval()(images).softmax(1)
