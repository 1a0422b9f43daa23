"""A network in plain PyTorch, set up as is usual for small photographs, for a number of seconds.

`cnn` is a small plain network, which learns most in so short a time. `resnet` is ResNet-20 of He et al. 2016 (arXiv
1512.03385), section 4.2. Both with the latter's augmentation, momentum and weight decay, and a cosine schedule over the
seconds. Channels-last, and bf16 autocast where the processor has it.
"""

import time

import numpy as np
import torch
import torch.nn.functional as F
from timed import Countdown, Photographs, contest
from torch import Tensor, nn

BATCH_SIZE, MOMENTUM, WEIGHT_DECAY, PADDING = 128, 0.9, 1e-4, 4
LEARNING_RATES = {"cnn": 0.03, "resnet": 0.1}  # 0.02 was best in 14 s, 0.1 in 70 s, on other images
BLOCKS = 3  # of two convolutions in each of three stages: 20 layers with weights
FILTERS = (32, 64, 128)  # of the small network's stages


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = convolution(inputs, outputs, stride), convolution(outputs, outputs, 1)
        self.stride, self.more = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return F.relu(self.second(F.relu(self.first(x))) + shortcut)


def convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


def resnet(channels: int, n_classes: int) -> nn.Sequential:
    stages = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
    blocks = [
        Block(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1)
        for inputs, outputs, stride in stages
        for i in range(BLOCKS)
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, n_classes)]
    return nn.Sequential(convolution(channels, 16, 1), nn.ReLU(), *blocks, *head)


def cnn(channels: int, n_classes: int) -> nn.Sequential:
    stages = []
    for inputs, outputs in zip((channels, *FILTERS), FILTERS, strict=False):
        stages += [convolution(inputs, outputs, 1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*stages, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(FILTERS[-1], n_classes))


def train(photographs: Photographs) -> tuple[np.ndarray, float, dict[str, str], str]:
    torch.manual_seed(photographs.seed)
    started = time.perf_counter()
    countdown, bf16 = Countdown(photographs.seconds), torch.cpu._is_avx512_bf16_supported()
    images, labels = as_input(photographs.images), torch.from_numpy(photographs.labels)
    build = {"cnn": cnn, "resnet": resnet}[photographs.network]
    network = build(images.shape[1], photographs.n_classes).to(memory_format=torch.channels_last)
    highest = LEARNING_RATES[photographs.network]
    optimizer = torch.optim.SGD(network.parameters(), highest, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    epochs = 0.0
    while not countdown.over:
        for rows in torch.randperm(len(images)).split(BATCH_SIZE):
            if countdown.over:
                break
            optimizer.param_groups[0]["lr"] = countdown.rate(highest)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(augmented(images[rows]))
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels[rows]).backward()
            optimizer.step()
            epochs += len(rows) / len(images)
    seconds = time.perf_counter() - started
    network.eval()
    with torch.inference_mode():
        parts = as_input(photographs.test_images).split(500)
        predicted = torch.cat([network(part).argmax(1) for part in parts]).numpy()
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    return predicted, seconds, versions, f"{photographs.network}, {epochs:.1f} epochs, {'bf16' if bf16 else 'float32'}"


def as_input(images: np.ndarray) -> Tensor:
    scaled = torch.from_numpy(images).movedim(-1, 1).float() / 255
    return ((scaled - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)


def augmented(images: Tensor) -> Tensor:
    """Each image shifted by up to `PADDING` pixels over a border of zeros, and every other one mirrored."""
    count, _, height, width = images.shape
    padded = F.pad(images, (PADDING,) * 4)
    down, right = torch.randint(0, 2 * PADDING + 1, (2, count, 1))
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    moved = padded.movedim(1, -1)[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.movedim(-1, 1)


if __name__ == "__main__":
    contest(train)
