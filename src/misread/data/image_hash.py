"""What names an image wherever it lies: a hash of its contents."""

import hashlib

import numpy as np

from misread.data.mapped_images import Images
from misread.errors import DataError


def image_hash(image: np.ndarray) -> str:
    """SHA-256 (64 hex digits) over the text `HxWxC:` and the image's bytes, row by row.

    image: (H, W, C) uint8, as loaded. The same contents have the same hash in every data set, split and order.
    """
    return image_hashes(image[None])[0]


def image_hashes(images: Images) -> list[str]:
    """`image_hash` of each of images (N, H, W, C) uint8. Raises DataError: other images."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"Images to hash are {images.dtype} {images.shape}; needed is uint8 (N, H, W, C).")
    shape = hashlib.sha256(f"{'x'.join(map(str, images.shape[1:]))}:".encode())
    hashes = []
    for image in images:
        digest = shape.copy()
        digest.update(np.ascontiguousarray(image).data)
        hashes.append(digest.hexdigest())
    return hashes
