from pathlib import Path

import numpy as np
import pytest

from misread.data import feature_store
from misread.data.download import cache_folder
from misread.data.feature_store import FeatureStore


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)


class Means:
    """The 'network': mean and maximum of each image. Counts the images that it gets."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.n, self.stop_after = 0, stop_after

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self.stop_after is not None and self.n >= self.stop_after:
            raise KeyboardInterrupt
        self.n += len(images)
        flat = images.reshape(len(images), -1).astype(np.float32)
        return np.stack([flat.mean(axis=1), flat.max(axis=1)], axis=1)


def expected(images: np.ndarray) -> np.ndarray:
    return np.array([[image.mean(dtype=np.float32), image.max()] for image in images], np.float32)


def test_every_image_is_computed_once_whatever_set_it_is_in() -> None:
    images, network = pictures(100), Means()
    twice = np.concatenate([images, images[::-1]])
    np.testing.assert_allclose(FeatureStore("own", "a" * 64).features(twice, network), expected(twice), rtol=1e-6)
    assert network.n == 100
    more = np.concatenate([pictures(40, seed=1), images[30:60]])
    np.testing.assert_allclose(FeatureStore("own", "a" * 64).features(more, network), expected(more), rtol=1e-6)
    assert network.n == 140
    FeatureStore("other", "b" * 64).features(images, network)
    assert network.n == 240


def test_an_interruption_keeps_the_complete_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "BLOCK", 40)
    monkeypatch.setattr(feature_store, "BATCH", 20)
    images = pictures(200)
    with pytest.raises(KeyboardInterrupt):
        FeatureStore("own", "a" * 64).features(images, Means(stop_after=100))
    network = Means()
    np.testing.assert_allclose(FeatureStore("own", "a" * 64).features(images, network), expected(images), rtol=1e-6)
    assert network.n == 120


def test_damaged_files_and_a_folder_that_cannot_be_written_only_cost_time() -> None:
    images = pictures(50)
    FeatureStore("own", "a" * 64).features(images, Means())
    (file,) = (cache_folder() / "features" / ("a" * 16)).glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    network = Means()
    FeatureStore("own", "a" * 64).features(images, network)
    assert network.n == 50
    Path(cache_folder() / "features" / ("c" * 16)).write_text("in the way")
    np.testing.assert_allclose(FeatureStore("own", "c" * 64).features(images, Means()), expected(images), rtol=1e-6)


def test_the_progress_says_how_many_images_were_computed() -> None:
    lines: list[str] = []
    store = FeatureStore("own", "a" * 64)
    store.features(pictures(50), Means(), lines.append)
    store.features(np.concatenate([pictures(50), pictures(10, seed=1)]), Means(), lines.append)
    store.features(pictures(50), Means(), lines.append)
    assert [line.partition(" images")[0] for line in lines] == [
        "Features by own: computed for 50 of 50", "Features by own: computed for 10 of 60",
    ]  # fmt: skip
