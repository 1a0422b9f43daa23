"""Which images of an epoch are shuffled together: all of them, or windows of images that are too large for that.

With windows, the training images are cut into blocks of consecutive images. The blocks are shuffled, put one after
another, and cut into windows. The images of a window are read into memory in the order of the file and shuffled there.
So an epoch has every image once, memory holds one window, and a disk reads whole blocks. Every draw depends only on the
seed and on the position, so a training can resume in any window.
"""

import torch
from torch import Tensor

from misread.training.randomness import Purpose, generator

BLOCK_BYTES = 2**20  # of consecutive images: a disk reads as much in about the time that it takes to find it
FEWEST_BLOCKS = 256  # in a window, so that it has images of all classes, even if the file is sorted by class
MIB = 2**20


def in_windows(image_bytes: int, window_mib: int) -> bool:
    """Whether training images of so many bytes together are shuffled in windows."""
    return image_bytes > window_mib * MIB


class Shuffle:
    """The windows of an epoch. With a single window, all images are shuffled together.

    windows:      their number.
    window_steps: training steps in each window; the last window may have fewer.
    """

    def __init__(self, count: int, image_bytes: int, batch_size: int, window_mib: int, seed: int) -> None:
        """count: training images. image_bytes: of each. window_mib: the most that a window has, up to one batch."""
        steps = -(-count // batch_size)
        at_least = max(1, -(-count * image_bytes // (window_mib * MIB)))
        self.window_steps = -(-steps // at_least)  # windows of equal size, each of whole batches
        self.windows = -(-steps // self.window_steps)
        self.count, self.window_size, self.seed = count, self.window_steps * batch_size, seed
        self.block_size = max(1, min(BLOCK_BYTES // image_bytes, self.window_size // FEWEST_BLOCKS))

    def positions(self, epoch: int, window: int) -> Tensor:
        """(n,) int64, ascending: the positions of the images in a window of an epoch."""
        if self.windows == 1:
            return torch.arange(self.count)
        first = torch.arange(0, self.count, self.block_size)
        order = torch.randperm(len(first), generator=generator(self.seed, Purpose.ORDER, epoch))
        first = first[order]
        ends = (self.count - first).clamp(max=self.block_size).cumsum(0)  # in the order of the epoch
        start = window * self.window_size
        stop = min(start + self.window_size, self.count)
        touched = slice(int(torch.searchsorted(ends, start, right=True)), int(torch.searchsorted(ends, stop)) + 1)
        joined = torch.cat([
            torch.arange(begin, min(begin + self.block_size, self.count)) for begin in first[touched].tolist()
        ])  # fmt: skip
        before = int(ends[touched.start - 1]) if touched.start else 0
        return joined[start - before : stop - before].sort().values

    def draws(self, epoch: int, window: int) -> torch.Generator:
        """The random numbers for the order of the images in a window."""
        return generator(self.seed, Purpose.ORDER, *self.key(epoch, window))

    def key(self, epoch: int, window: int) -> tuple[int, ...]:
        """The position of draws for a window; an epoch without windows has that of the epoch."""
        return (epoch,) if self.windows == 1 else (epoch, window)
