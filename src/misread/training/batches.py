"""The training images in the order in which they are met, augmented where the recipe says so."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from misread.data.mapped_images import Images, MappedImages
from misread.training.augment import augment
from misread.training.randomness import Purpose, generator
from misread.training.recipe import Recipe

AUGMENTATION_BLOCK = 1000  # images augmented at once: hides the fixed cost of a call, and stays in the cache


@dataclass(frozen=True)
class Examples:
    """Labelled images on the device that trains: images (M, H, W, C) uint8 and labels (M,) int64, at `rows` (N,).

    Images in a file stay there on the CPU: `images` is then the whole file, and `rows` may be a part of it.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def on(cls, device: torch.device, images: Images, labels: np.ndarray) -> "Examples":
        if not isinstance(images, MappedImages) or images.rows is None:
            array = images.file if isinstance(images, MappedImages) else images
            return cls(as_tensor(array, device), as_tensor(labels, device), torch.arange(len(labels), device=device))
        in_file = np.zeros(len(images.file), np.int64)
        in_file[images.rows] = labels
        rows = images.rows.astype(np.int64)
        return cls(as_tensor(images.file, device), as_tensor(in_file, device), as_tensor(rows, device))


@dataclass(frozen=True)
class Batch:
    """The images of one or more steps.

    images (M, H, W, C) uint8 and labels (M,) int64; the steps take those at `rows` (n,) int64, `size` at a time.
    first_step: how many steps of the training come before them.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    size: int
    first_step: int


class Batches:
    """Epoch after epoch of the examples. What a step gets depends on the seed and its position alone."""

    def __init__(self, examples: Examples, recipe: Recipe, seed: int) -> None:
        self.examples, self.spec, self.size, self.seed = examples, recipe.augmentation, recipe.batch_size, seed
        self.steps_per_epoch = -(-len(examples) // recipe.batch_size)
        self._order: tuple[int, Tensor] | None = None  # of one epoch
        self._block: tuple[tuple[int, int], Tensor] | None = None  # augmented last: of an epoch, and which

    def take(self, epoch: int, step: int, steps: int) -> Batch:
        """The batch of `steps` steps from `step` on, both within the epoch, which is counted from 0."""
        data, first_step = self.examples, epoch * self.steps_per_epoch + step
        start, stop = step * self.size, min((step + steps) * self.size, len(data))
        rows = self._rows(epoch)[start:stop]
        if self.spec is None:
            return Batch(data.images, data.labels, rows, self.size, first_step)
        parts = []
        for block in range(start // AUGMENTATION_BLOCK, -(-stop // AUGMENTATION_BLOCK)):
            before = block * AUGMENTATION_BLOCK
            parts.append(self._augmented(epoch, block)[max(start - before, 0) : stop - before])
        images = parts[0] if len(parts) == 1 else torch.cat(parts)
        here = torch.arange(len(rows), device=rows.device)
        return Batch(images.contiguous(), data.labels[rows], here, self.size, first_step)

    def _rows(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self.examples), generator=generator(self.seed, Purpose.ORDER, epoch))
            self._order = epoch, self.examples.rows[order.to(self.examples.rows.device)]
        return self._order[1]

    def _augmented(self, epoch: int, block: int) -> Tensor:
        """A block of a fixed size, however many images are taken at once, so that the draws do not depend on speed."""
        if self._block is None or self._block[0] != (epoch, block):
            assert self.spec is not None
            rows = self._rows(epoch)[block * AUGMENTATION_BLOCK :][:AUGMENTATION_BLOCK]
            draws = generator(self.seed, Purpose.AUGMENTATION, epoch, block)
            self._block = (epoch, block), augment(self.examples.images[rows], self.spec, draws)
        return self._block[1]


def as_tensor(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device; on the CPU the same memory, be it read-only or a memory map. Nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)
