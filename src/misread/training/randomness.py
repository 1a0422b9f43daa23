"""Counter-based random numbers: a key determines the numbers, so a training can resume at any step.

The key of a draw consists of a member's seed, a purpose, and a position, such as epoch and block. No generator is used
for more than one draw, so a resumed training needs only its position.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """The purpose of a draw. The numbers are part of every key, so they must not change."""

    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3
    FLIP = 4


def random_key(seed: int, purpose: Purpose, *position: int) -> int:
    """A key in 0..2**63-1 for these numbers, each 0 or more.

    Keys for different arguments are independent for all practical purposes.
    Source: numpy.random.SeedSequence, whose hash is documented to be stable.
    """
    # SeedSequence splits large numbers into words and ignores zeros at the end, so different numbers could give the
    # same words; two words of 32 bits per number and a last word that is not 0 prevent this
    numbers = (seed, int(purpose), *position)
    words = [word for number in numbers for word in (number & 0xFFFFFFFF, number >> 32)]
    key = np.random.SeedSequence([*words, len(numbers)]).generate_state(1, np.uint64)
    return int(key[0] >> np.uint64(1))


def generator(seed: int, purpose: Purpose, *position: int) -> torch.Generator:
    """A CPU generator seeded with the key of these numbers."""
    return torch.Generator().manual_seed(random_key(seed, purpose, *position))
