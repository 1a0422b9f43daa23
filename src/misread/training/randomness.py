"""Random numbers by counter: a key says which numbers come, so a training can begin at any step without rewinding.

Every draw belongs to a member of a training (by its seed), a purpose, and a position such as an epoch and a block. No
generator lives longer than one draw, so a position is all that a resumed training has to know.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a draw decides. The numbers are part of every key: they must not change."""

    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3


def random_key(seed: int, purpose: Purpose, *position: int) -> int:
    """A key in 0..2**63-1 for these numbers, each of them 0 or more.

    Keys of different arguments are independent for all practical purposes.
    Source: numpy.random.SeedSequence, whose hash is documented to be stable.
    """
    # two words of 32 bits a number, and a last word that is not 0: SeedSequence ignores zeros at the end, and splits
    # large numbers, so that other numbers could make the same words
    numbers = (seed, int(purpose), *position)
    words = [word for number in numbers for word in (number & 0xFFFFFFFF, number >> 32)]
    key = np.random.SeedSequence([*words, len(numbers)]).generate_state(1, np.uint64)
    return int(key[0] >> np.uint64(1))


def generator(seed: int, purpose: Purpose, *position: int) -> torch.Generator:
    """A generator on the CPU that begins at the key of these numbers."""
    return torch.Generator().manual_seed(random_key(seed, purpose, *position))
