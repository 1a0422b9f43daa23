"""The pictures on a page: each distinct image once, as a small PNG."""

import io
from base64 import b64encode

import numpy as np
from PIL import Image

from misread.data.image_hash import image_hash

BUDGET = 24_000_000  # characters of all pictures; a page that is much larger opens slowly
SIDE = 128  # longer sides are reduced to this: a gallery's tile and its enlargement need no more


class Album:
    """Pictures as base64 PNG, at their own size up to `SIDE`; what is added first is kept when the budget is spent."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.pictures: list[str] = []
        self.left_out = 0
        self._budget = budget
        self._places: dict[str, int] = {}

    def add(self, image: np.ndarray) -> int | None:
        """The place in `pictures` of an image (H, W, 1 or 3) uint8; None where the budget is spent."""
        name = image_hash(image)
        if name not in self._places:
            png = _png(image)
            if len(png) > self._budget:
                self._budget = 0  # a smaller one may not fit in later either: what is kept is a beginning
                self.left_out += 1
                return None
            self._budget -= len(png)
            self._places[name] = len(self.pictures)
            self.pictures.append(png)
        return self._places[name]


def _png(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return b64encode(buffer.getvalue()).decode()
