import hashlib

import numpy as np
import pytest

from misread.data.image_hash import image_hash, image_hashes
from misread.errors import DataError


def test_the_hash_covers_shape_and_bytes() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert image_hash(image) == hashlib.sha256(b"2x2x3:" + bytes(range(12))).hexdigest()


def test_equal_contents_have_equal_hashes_in_any_memory_layout() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 1), dtype=np.uint8)
    assert image_hashes(images[::-1]) == [image_hash(i) for i in images][::-1]
    assert image_hashes(np.asfortranarray(images)) == image_hashes(images)
    assert len(set(image_hashes(images))) == 5
    changed = images.copy()
    changed[2, 0, 0, 0] ^= 1
    assert [a == b for a, b in zip(image_hashes(images), image_hashes(changed), strict=True)] == [1, 1, 0, 1, 1]


def test_the_same_bytes_in_another_shape_are_another_image() -> None:
    image = np.zeros((2, 6, 1), np.uint8)
    assert image_hash(image) != image_hash(image.reshape(3, 4, 1))


def test_no_images_have_no_hashes() -> None:
    assert image_hashes(np.zeros((0, 4, 4, 1), np.uint8)) == []


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 1), np.float32)])
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"The images to hash are .*, but must be uint8 \(N, H, W, C\)"):
        image_hashes(images)
