"""The batches of a training: shuffled, and augmented if the recipe asks for it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from misread.data.mapped_images import Images, MappedImages
from misread.training.augment import augment
from misread.training.randomness import Purpose, generator
from misread.training.recipe import Recipe
from misread.training.shuffle import Shuffle, in_windows

AUGMENTATION_BLOCK = (
    1000  # images augmented at once: enough to hide the cost of a call, few enough to stay in the CPU cache
)


@dataclass(frozen=True)
class Examples:
    """Labelled images: the `rows` (N,) int64 of images (M, H, W, C) uint8 and labels (M,) int64.

    With a frozen backbone, `images` are features (M, D) float32.

    On the CPU, images in a file are not copied: `images` is the complete file, and `rows` selects from it.
    device: the training device, if the images are not there but on the CPU; see `Shuffle`.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    device: torch.device | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def on(cls, device: torch.device, images: Images, labels: np.ndarray, window_mib: int | None = None) -> "Examples":
        """images (N, H, W, C) uint8 and labels (N,) int64 for a device.

        window_mib: images of more than this stay on the CPU, because `Batches` brings them to the device in windows.
        """
        if window_mib is not None and in_windows(images.nbytes, window_mib) and device.type != "cpu":
            return replace(cls.on(torch.device("cpu"), images, labels), device=device)
        if isinstance(images, MappedImages) and device.type != "cpu":
            images = images[:]  # only these: the file may have more than the device can hold
        if not isinstance(images, MappedImages) or images.rows is None:
            array = images.file if isinstance(images, MappedImages) else images
            return cls(as_tensor(array, device), as_tensor(labels, device), torch.arange(len(labels), device=device))
        file_labels = np.zeros(len(images.file), np.int64)
        file_labels[images.rows] = labels
        rows = images.rows.astype(np.int64)
        return cls(as_tensor(images.file, device), as_tensor(file_labels, device), as_tensor(rows, device))


@dataclass(frozen=True)
class Batch:
    """The images of one or more steps.

    images (M, H, W, C) uint8 and labels (M,) int64. Each step takes the next `size` of the `rows` (n,) int64.
    first_step: the number of steps of this training before this batch.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    size: int
    first_step: int


class Window(NamedTuple):
    """Images of an epoch that are shuffled together: all of them, or as many as are in memory at a time.

    epoch, number: of the window, both counted from 0. start: the number of the epoch's images before it.
    images:        (M, H, W, C) uint8 and labels (M,) int64 on the training device.
    rows:          (n,) int64 there: the window's images, in the order of the training.
    positions:     (n,) int64 on the CPU: the positions of these images among the examples.
    """

    epoch: int
    number: int
    start: int
    images: Tensor
    labels: Tensor
    rows: Tensor
    positions: Tensor


class Batches:
    """Gives the batch of any step. It depends only on the seed and the position of the step."""

    def __init__(self, examples: Examples, recipe: Recipe, seed: int) -> None:
        self.examples, self.spec, self.size, self.seed = examples, recipe.augmentation, recipe.batch_size, seed
        self.class_balance = recipe.class_balance
        self.steps_per_epoch = -(-len(examples) // recipe.batch_size)
        image_bytes = examples.images[:1].nbytes
        self.shuffle = Shuffle(len(examples), image_bytes, recipe.batch_size, recipe.shuffle_window_mib, seed)
        self._window: Window | None = None  # the last one
        self._mirrored: Tensor | None = None  # in even epochs; in odd ones it is the other images
        if self.spec and self.spec.flip:
            self._mirrored = torch.rand(len(examples), generator=generator(seed, Purpose.FLIP)) < 0.5
        self._block: tuple[tuple[int, ...], Tensor] | None = None  # (epoch, window, block) augmented last; its images

    def take(self, epoch: int, step: int, steps: int, scale: float = 1.0) -> Batch:
        """The batch for `steps` steps of an epoch, beginning at `step`; fewer at the end of a window.

        Epoch and step are counted from 0. scale: the images are resized to this share of their side.
        """
        window, first_step = self._window_of(epoch, step), epoch * self.steps_per_epoch + step
        start = step * self.size - window.start
        stop = min(start + steps * self.size, len(window.rows))
        rows = window.rows[start:stop]
        if self.spec is None and scale == 1:
            return Batch(window.images, window.labels, rows, self.size, first_step)
        images = window.images[rows] if self.spec is None else self._augmented(window, start, stop)
        positions = torch.arange(len(rows), device=rows.device)
        return Batch(resized(images, scale).contiguous(), window.labels[rows], positions, self.size, first_step)

    def _window_of(self, epoch: int, step: int) -> Window:
        number = step // self.shuffle.window_steps
        if self._window is None or (self._window.epoch, self._window.number) != (epoch, number):
            self._window = None  # which frees its memory before the next one is read
            self._window = self._read(epoch, number)
        return self._window

    def _read(self, epoch: int, number: int) -> Window:
        data, draws = self.examples, self.shuffle.draws(epoch, number)
        positions = self.shuffle.positions(epoch, number)
        rows = data.rows[positions.to(data.rows.device)]
        if self.class_balance:
            order = balanced_order(data.labels[rows].cpu(), self.class_balance, draws)
        else:
            order = torch.randperm(len(positions), generator=draws)
        images, labels = data.images, data.labels
        if self.shuffle.windows > 1:
            device = data.device or images.device
            images, labels = images[rows].to(device), labels[rows].to(device)
            rows = torch.arange(len(rows), device=device)
        start = number * self.shuffle.window_size
        return Window(epoch, number, start, images, labels, rows[order.to(rows.device)], positions[order])

    def _augmented(self, window: Window, start: int, stop: int) -> Tensor:
        """The augmented images of a window from `start` to `stop`."""
        parts = []
        for block in range(start // AUGMENTATION_BLOCK, -(-stop // AUGMENTATION_BLOCK)):
            offset = block * AUGMENTATION_BLOCK
            parts.append(self._augmented_block(window, block)[max(start - offset, 0) : stop - offset])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _augmented_block(self, window: Window, block: int) -> Tensor:
        """A block of fixed size, so that the random numbers do not depend on how many steps are taken at once."""
        key = (*self.shuffle.key(window.epoch, window.number), block)
        if self._block is None or self._block[0] != key:
            assert self.spec is not None
            own = slice(block * AUGMENTATION_BLOCK, (block + 1) * AUGMENTATION_BLOCK)
            mirrored = None
            if self._mirrored is not None:
                mirrored = self._mirrored[window.positions[own]] ^ bool(window.epoch % 2)
            draws = generator(self.seed, Purpose.AUGMENTATION, *key)
            self._block = key, augment(window.images[window.rows[own]], self.spec, draws, mirrored)
        return self._block[1]


def scaled_size(image_shape: Sequence[int], scale: float) -> tuple[int, int]:
    """(H, W) of images of shape (H, W, C) at this share of their side."""
    height, width = (max(1, round(side * scale)) for side in image_shape[:2])
    return height, width


def resized(images: Tensor, scale: float) -> Tensor:
    """(N, H, W, C) uint8 at this share of their side, without aliasing."""
    size = scaled_size(images.shape[1:], scale)
    if size == tuple(images.shape[1:3]):
        return images
    pixels = images.movedim(-1, 1)
    if images.device.type != "cpu":  # torch resizes uint8 on the CPU alone
        pixels = pixels.to(torch.float32)
    smaller = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return smaller.round().to(torch.uint8).movedim(1, -1)


def balanced_order(labels: Tensor, class_balance: float, draws: torch.Generator) -> Tensor:
    """The N positions of an epoch, in random order. Small classes have more than their own share of them.

    labels: (N,) int64. A class of n images gets a share in proportion to n ** (1 - class_balance): with 1 all classes
    get the same. The images of a class are used equally often, give or take one.
    Source: Kang et al. 2020 (arXiv 1910.09217), where q = 1 - class_balance.
    """
    counts = labels.bincount()
    shares = torch.where(counts > 0, counts.double() ** (1 - class_balance), 0.0)
    ends = (shares.cumsum(0) / shares.sum() * len(labels) + 0.5).floor().long()  # so that the sum is exact
    drawn = []
    by_class = labels.argsort(stable=True).split(counts.tolist())
    for positions, quota in zip(by_class, ends.diff(prepend=ends.new_zeros(1)).tolist(), strict=True):
        if quota:
            passes = torch.rand(-(-quota // len(positions)), len(positions), generator=draws).argsort(stable=True)
            drawn.append(positions[passes.flatten()[:quota]])
    return torch.cat(drawn)[torch.randperm(len(labels), generator=draws)]


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device. On the CPU it shares memory with the array, which may be read-only: do not write to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
