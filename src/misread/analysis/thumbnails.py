"""Thumbnails: small pictures whose dot product measures how alike two images look."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from misread.data.mapped_images import Images

NEAR_DUPLICATE = (
    0.996  # the correlation of thumbnails from which images are near-duplicates; docs/data.md has the reason
)
SIDE = 16  # pixels at most: averaging hides noise and compression, which do not make another picture
BLOCK = 1000  # images in memory at once
FLAT = 1e-3  # grey levels; less variation is a rounding error


def thumbnails(images: Images) -> np.ndarray:
    """(N, H, W, C) uint8 -> (N, D) float32, each row of mean 0 and length 1; all 0 for an image of one colour.

    An image is averaged over equal areas until no side is longer than `SIDE`. The dot product of two rows is the
    Pearson correlation of the two small pictures: 1 if they are equal up to brightness and contrast.
    """
    blocks = list(thumbnail_blocks(images))
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32)


def thumbnail_blocks(images: Images) -> Iterator[np.ndarray]:
    """`thumbnails`, block by block."""
    height, width = (math.ceil(side / math.ceil(side / SIDE)) for side in images.shape[1:3])
    for start in range(0, len(images), BLOCK):
        pixels = torch.tensor(images[start : start + BLOCK]).movedim(-1, 1).float()
        small = F.adaptive_avg_pool2d(pixels, (height, width)).flatten(1)
        small -= small.mean(dim=1, keepdim=True)
        length = small.norm(dim=1, keepdim=True)
        yield torch.where(length > FLAT * math.sqrt(small.shape[1]), small / length, 0).numpy()
