"""Images in a file go to another process as the place of the file."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from misread.data.mapped_images import MappedImages

PIXELS = np.arange(40 * 16 * 16, dtype=np.uint64).astype(np.uint8).reshape(40, 16, 16, 1)


def mapped(how: str, folder: Path) -> np.ndarray:
    path = folder / "images.npy"
    np.save(path, np.asfortranarray(PIXELS) if how == "by columns" else PIXELS)
    whole = np.load(path, mmap_mode="r")
    return whole[5:] if how == "a part" else whole


@pytest.mark.parametrize(
    ("how", "by_place"), [("whole", True), ("a part", True), ("by columns", False), ("in memory", False)]
)
@pytest.mark.parametrize("rows", [None, np.array([3, 1, 1, 30])])
def test_a_copy_has_the_same_images(how: str, by_place: bool, rows: np.ndarray | None, tmp_path: Path) -> None:
    file = PIXELS if how == "in memory" else mapped(how, tmp_path)
    images = MappedImages(file, rows)
    sent = pickle.dumps(images)
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), np.asarray(images))
    assert (len(sent) < 1000) == by_place  # the images are 10 KB


def test_a_map_with_an_offset_beyond_a_page(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(bytes(5000) + PIXELS.tobytes())
    images = MappedImages(np.memmap(path, np.uint8, "r", 5000, PIXELS.shape))
    sent = pickle.dumps(images)
    assert len(sent) < 1000
    np.testing.assert_array_equal(np.asarray(pickle.loads(sent)), PIXELS)
