"""The pictures on a page: each distinct image once, as a small PNG."""

import io
from base64 import b64encode

import numpy as np
from PIL import Image

from misread.data.image_hash import image_hash

BUDGET = 24_000_000  # characters of all pictures; a much larger page opens slowly
SIDE = 128  # pixels of the longer side at most: tiles and enlargements need no more


class Pictures:
    """Base64 PNGs at their own size up to `SIDE`, until the budget is spent; then further pictures are left out."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.encoded: list[str] = []
        self.left_out = 0
        self._budget = budget
        self._places: dict[str, int] = {}

    def add(self, image: np.ndarray) -> int | None:
        """The place in `encoded` of an image (H, W, 1 or 3) uint8; None if the budget is spent."""
        name = image_hash(image)
        if name not in self._places:
            png = _png(image)
            if len(png) > self._budget:
                self._budget = 0  # so that no smaller one is added later: the pictures are the first ones, without gaps
                self.left_out += 1
                return None
            self._budget -= len(png)
            self._places[name] = len(self.encoded)
            self.encoded.append(png)
        return self._places[name]


def _png(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "png", optimize=True)
    return b64encode(buffer.getvalue()).decode()
