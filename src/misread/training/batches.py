"""The batches of a training: shuffled, and augmented if the recipe asks for it."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
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
        self._order: tuple[int, Tensor] | None = None  # an epoch, and the order of its images
        self._block: tuple[tuple[int, int], Tensor] | None = None  # (epoch, block) augmented last, and its images

    def take(self, epoch: int, step: int, steps: int) -> Batch:
        """The batch for `steps` steps of an epoch, beginning at `step`. Epoch and step are counted from 0."""
        data, first_step = self.examples, epoch * self.steps_per_epoch + step
        start, stop = step * self.size, min((step + steps) * self.size, len(data))
        rows = self._rows(epoch)[start:stop]
        if self.spec is None:
            return Batch(data.images, data.labels, rows, self.size, first_step)
        parts = []
        for block in range(start // AUGMENTATION_BLOCK, -(-stop // AUGMENTATION_BLOCK)):
            offset = block * AUGMENTATION_BLOCK
            parts.append(self._augmented(epoch, block)[max(start - offset, 0) : stop - offset])
        images = parts[0] if len(parts) == 1 else torch.cat(parts)
        positions = torch.arange(len(rows), device=rows.device)
        return Batch(images.contiguous(), data.labels[rows], positions, self.size, first_step)

    def _rows(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            data, draws = self.examples, generator(self.seed, Purpose.ORDER, epoch)
            if self.class_balance:
                order = balanced_order(data.labels[data.rows].cpu(), self.class_balance, draws)
            else:
                order = torch.randperm(len(data), generator=draws)
            self._order = epoch, data.rows[order.to(data.rows.device)]
        return self._order[1]

    def _augmented(self, epoch: int, block: int) -> Tensor:
        """A block of fixed size, so that the random numbers do not depend on how many steps are taken at once."""
        if self._block is None or self._block[0] != (epoch, block):
            assert self.spec is not None
            rows = self._rows(epoch)[block * AUGMENTATION_BLOCK :][:AUGMENTATION_BLOCK]
            draws = generator(self.seed, Purpose.AUGMENTATION, epoch, block)
            self._block = (epoch, block), augment(self.examples.images[rows], self.spec, draws)
        return self._block[1]


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
