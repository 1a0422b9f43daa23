"""Small data sets that tests make for themselves, and what the command line gave."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from misread.data.idx import idx_bytes


def blocks(n: int, classes: int = 4, side: int = 8, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that can be learnt in a moment: class k has a bright block at place k, among noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 60, (n, side, side, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * side // 2 :, column * side // 2 :][: side // 2, : side // 2] += 150
    return images, labels


def write_idx_folder(folder: Path, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Path:
    """The four files under MNIST's names, not compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images.squeeze(-1)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


def draw_nothing(patch: Any) -> None:
    """Trainings in this process leave no pictures, which take four fifths of a small training's time.

    patch: a MonkeyPatch.
    """
    patch.setattr("misread.runs.write_run._draw", lambda run: (run.folder / "figures").mkdir(exist_ok=True))


class Result(NamedTuple):
    code: int
    out: str
    err: str
