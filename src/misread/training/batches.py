"""The batches of a training: shuffled, and augmented if the recipe asks for it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from misread.data.mapped_images import Images, MappedImages
from misread.training.augment import augment
from misread.training.randomness import Purpose, generator
from misread.training.recipe import Recipe

AUGMENTATION_BLOCK = (
    1000  # images augmented at once: enough to hide the cost of a call, few enough to stay in the CPU cache
)


@dataclass(frozen=True)
class Examples:
    """Labelled images on the training device: the `rows` (N,) int64 of images (M, H, W, C) uint8 and labels (M,) int64.

    With a frozen backbone, `images` are features (M, D) float32.

    On the CPU, images in a file are not copied: `images` is the complete file, and `rows` selects from it.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def on(cls, device: torch.device, images: Images, labels: np.ndarray) -> "Examples":
        """images (N, H, W, C) uint8 and labels (N,) int64 on a device."""
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


class Batches:
    """Gives the batch of any step. It depends only on the seed and the position of the step."""

    def __init__(self, examples: Examples, recipe: Recipe, seed: int) -> None:
        self.examples, self.spec, self.size, self.seed = examples, recipe.augmentation, recipe.batch_size, seed
        self.class_balance = recipe.class_balance
        self.steps_per_epoch = -(-len(examples) // recipe.batch_size)
        self._order: tuple[int, Tensor] | None = None  # an epoch, and the order of its images, as positions
        self._mirrored: Tensor | None = None  # in even epochs; in odd ones it is the other images
        if self.spec and self.spec.flip:
            self._mirrored = torch.rand(len(examples), generator=generator(seed, Purpose.FLIP)) < 0.5
        self._block: tuple[tuple[int, int], Tensor] | None = None  # (epoch, block) augmented last, and its images

    def take(self, epoch: int, step: int, steps: int, scale: float = 1.0) -> Batch:
        """The batch for `steps` steps of an epoch, beginning at `step`. Epoch and step are counted from 0.

        scale: the images are resized to this share of their side.
        """
        data, first_step = self.examples, epoch * self.steps_per_epoch + step
        start, stop = step * self.size, min((step + steps) * self.size, len(data))
        rows = data.rows[self._shuffled(epoch)[start:stop].to(data.rows.device)]
        if self.spec is None and scale == 1:
            return Batch(data.images, data.labels, rows, self.size, first_step)
        images = data.images[rows] if self.spec is None else self._augmented(epoch, start, stop)
        positions = torch.arange(len(rows), device=rows.device)
        return Batch(resized(images, scale).contiguous(), data.labels[rows], positions, self.size, first_step)

    def _shuffled(self, epoch: int) -> Tensor:
        """(N,) int64 on the CPU: the positions of the epoch's examples, in its order."""
        if self._order is None or self._order[0] != epoch:
            data, draws = self.examples, generator(self.seed, Purpose.ORDER, epoch)
            if self.class_balance:
                order = balanced_order(data.labels[data.rows].cpu(), self.class_balance, draws)
            else:
                order = torch.randperm(len(data), generator=draws)
            self._order = epoch, order
        return self._order[1]

    def _augmented(self, epoch: int, start: int, stop: int) -> Tensor:
        """The augmented images of an epoch from `start` to `stop`."""
        parts = []
        for block in range(start // AUGMENTATION_BLOCK, -(-stop // AUGMENTATION_BLOCK)):
            offset = block * AUGMENTATION_BLOCK
            parts.append(self._augmented_block(epoch, block)[max(start - offset, 0) : stop - offset])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _augmented_block(self, epoch: int, block: int) -> Tensor:
        """A block of fixed size, so that the random numbers do not depend on how many steps are taken at once."""
        if self._block is None or self._block[0] != (epoch, block):
            assert self.spec is not None
            positions = self._shuffled(epoch)[block * AUGMENTATION_BLOCK :][:AUGMENTATION_BLOCK]
            images = self.examples.images[self.examples.rows[positions.to(self.examples.rows.device)]]
            mirrored = None if self._mirrored is None else self._mirrored[positions] ^ bool(epoch % 2)
            draws = generator(self.seed, Purpose.AUGMENTATION, epoch, block)
            self._block = (epoch, block), augment(images, self.spec, draws, mirrored)
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
