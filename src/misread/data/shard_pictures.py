"""An encoded picture of a shard, and the class that its label stands for."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Picture(NamedTuple):
    """read: decodes it, (h, w, 1 or 3) uint8; raises DataError: it cannot be read."""

    key: str
    label: str | None
    read: Callable[[], np.ndarray]


def class_of(label: int | float | str | None, class_names: Sequence[str]) -> str | None:
    """The name of the class that a label stands for: a whole number is an index, all else is a name.

    A label that is no class stays as it is. None stands for no label.
    """
    if label is None or label == "":
        return None
    text = str(label)
    if text.isdecimal() and int(text) < len(class_names):
        return class_names[int(text)]
    return text
