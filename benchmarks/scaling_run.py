"""One training of `scaling.py`, in a process of its own; prints a line of JSON.

`scaling_run.py RECIPE EPOCHS COUNT memory` trains on COUNT images made from MNIST that lie in memory;
`scaling_run.py RECIPE EPOCHS FOLDER` on the memory-mapped images of a folder, made by `write_folder`.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import misread
from peers.contest import peak_rss_bytes

BLOCK = 10_000  # images that are shifted at a time
WINDOW_MIB = 128  # of mapped images, shuffled at a time: well below the limits that `scaling.py` sets


def fill(images: np.ndarray, labels: np.ndarray, source: misread.ImageSet) -> None:
    """MNIST again and again, each time shifted by another one of 25 steps of up to two pixels."""
    train = source.train
    for start in range(0, len(images), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(images)))
        down, right = divmod(int(start // len(train)) % 25, 5)
        images[rows] = np.roll(train.images[rows % len(train)], (down - 2, right - 2), axis=(1, 2))
        labels[rows] = train.labels[rows % len(train)]


def write_folder(folder: Path, count: int) -> None:
    """`count` such images as .npy files, never in memory as a whole; the test split is MNIST's."""
    mnist = misread.load("mnist")
    images = np.lib.format.open_memmap(folder / "train-images.npy", "w+", np.uint8, (count, 28, 28, 1))
    labels = np.empty(count, np.int64)
    fill(images, labels, mnist)
    images.flush()
    np.save(folder / "train-labels.npy", labels)
    np.save(folder / "test-images.npy", mnist.test.images)
    np.save(folder / "test-labels.npy", mnist.test.labels)


def in_memory(count: int) -> misread.ImageSet:
    mnist = misread.load("mnist")
    images, labels = np.empty((count, 28, 28, 1), np.uint8), np.empty(count, np.int64)
    fill(images, labels, mnist)
    return misread.ImageSet.from_arrays(images, labels, test=(mnist.test.images, mnist.test.labels))


def main() -> None:
    recipe, epochs, where = sys.argv[1:4]
    mapped = Path(where).is_dir()
    data = misread.load(where) if mapped else in_memory(int(where))
    settings = {"shuffle_window_mib": WINDOW_MIB} if mapped else {}
    with tempfile.TemporaryDirectory() as out:
        run = misread.train(data, recipe, epochs=int(epochs), settings=settings, out=out, device="cpu", progress=False)
        epoch_seconds = [float(s) for s in run.history["seconds"]]
    answer = {
        "n_train": run.record.data.n_train,
        "epoch_seconds": epoch_seconds,
        "data_bytes": int(np.prod(data.train.images.shape)),
        "peak_rss_bytes": peak_rss_bytes(),
        "timing": run.record.timing.model_dump(),
        "test_accuracy": run.metrics["test"]["accuracy"],
        "environment": run.record.environment.model_dump(),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
