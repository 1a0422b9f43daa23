"""A hash of an image's contents, which identifies it in every data set."""

import hashlib

import numpy as np

from misread.data.mapped_images import Images
from misread.errors import DataError


def image_hash(image: np.ndarray) -> str:
    """SHA-256 (64 hex digits) over the text `HxWxC:` and the image's bytes, row by row.

    image: (H, W, C) uint8, as loaded. Equal images have equal hashes in every data set, split and order.
    """
    return image_hashes(image[None])[0]


def image_hashes(images: Images) -> list[str]:
    """`image_hash` of each of images (N, H, W, C) uint8. Raises DataError: another shape or dtype."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise DataError(f"The images to hash are {images.dtype} {images.shape}, but must be uint8 (N, H, W, C).")
    shape = hashlib.sha256(f"{'x'.join(map(str, images.shape[1:]))}:".encode())
    hashes = []
    for image in images:
        digest = shape.copy()
        digest.update(np.ascontiguousarray(image).data)
        hashes.append(digest.hexdigest())
    return hashes
