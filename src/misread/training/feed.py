"""The training images in the order in which they are met, augmented where the recipe says so."""

import torch
from torch import Tensor

from misread.training.augment import augment
from misread.training.recipe import Augmentation

BLOCK = 1000  # images augmented at once: the fixed cost of a call is lost in it, and it stays in the cache


class Feed:
    """Labelled images, (M, H, W, C) uint8 and (M,) int64, those at rows (N,), as epoch after epoch takes them.

    The images are augmented in blocks of a fixed size, however many are taken at once: a seed gives the same images
    on a fast machine and on a slow one.
    """

    def __init__(self, images: Tensor, labels: Tensor, rows: Tensor, spec: Augmentation | None, seed: int) -> None:
        self.images, self.labels, self.rows, self.spec = images, labels, rows, spec
        self._generator = torch.Generator().manual_seed(seed)

    def shuffle(self) -> None:
        """Begin an epoch, in an order of its own."""
        order = torch.randperm(len(self.rows), generator=self._generator).to(self.rows.device)
        self._rows = self.rows[order]  # those not yet taken; with augmentation, those not yet augmented
        self._images, self._labels = self.images[:0], self.labels[:0]  # augmented and not yet taken

    def take(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The next `count` images: (images, labels, rows), the rows being those in images and labels to use."""
        if self.spec is None:
            taken, self._rows = self._rows[:count], self._rows[count:]
            return self.images, self.labels, taken
        while len(self._images) < count and len(self._rows):
            block, self._rows = self._rows[:BLOCK], self._rows[BLOCK:]
            self._images = torch.cat([self._images, augment(self.images[block], self.spec, self._generator)])
            self._labels = torch.cat([self._labels, self.labels[block]])
        images, self._images = self._images[:count], self._images[count:]
        labels, self._labels = self._labels[:count], self._labels[count:]
        return images, labels, torch.arange(len(images), device=images.device)
