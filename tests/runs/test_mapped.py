"""Training on images that stay in a file."""

from pathlib import Path

import numpy as np
import pytest

import misread


@pytest.mark.parametrize("split_off", [False, True])
@pytest.mark.parametrize("more", [[], ["augmentation.rotation=12", "test_time_augmentation.shift=1"]])
def test_images_in_a_file_train_like_images_in_memory(tmp_path: Path, more: list[str], split_off: bool) -> None:
    """`split_off`: test is carved by misread from one file, so that both splits are rows of it, out of order."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    images = np.where(np.arange(144).reshape(12, 12) // 48 == labels[:, None, None], 200, 0).astype(np.uint8)
    images += rng.integers(0, 50, images.shape, dtype=np.uint8)
    parts = {"train": slice(0, 300), "test": slice(300, 400)}
    if split_off:
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "labels.npy", labels)
        in_memory: object = (images, labels)
    else:
        for name, part in parts.items():
            np.save(tmp_path / f"{name}-images.npy", images[part])
            np.save(tmp_path / f"{name}-labels.npy", labels[part])
        in_memory = tuple((images[part], labels[part]) for part in parts.values())
    settings = ["epochs=1", "batch_size=32", "layers.0.kernel_size=3", *more]
    runs = [
        misread.train(data, "fast", settings=settings, out=tmp_path / "runs", progress=False)
        for data in (misread.load(tmp_path), in_memory)
    ]
    mapped, plain = (run.predictions() for run in runs)
    np.testing.assert_array_equal(mapped.labels, plain.labels)
    np.testing.assert_array_equal(mapped.probs, plain.probs)
    assert runs[0].history.drop(columns="seconds").equals(runs[1].history.drop(columns="seconds"))
