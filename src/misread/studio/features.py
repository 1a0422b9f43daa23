"""The features of a run's images: the input of its network's last layer, computed once and kept in the cache folder."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from misread.studio.background import Report, is_kept, keeping, result_folder

if TYPE_CHECKING:
    from misread.runs.run import Run


def split_features(run: "Run", split: str, report: Report = lambda done: None) -> np.ndarray:
    """(N, D) float32, in the order of the split; see `Predictor.features`. A file that is mapped, not read.

    Raises DataError or RunError: the data or the network cannot be loaded. OSError: the cache cannot be written.
    """
    path = _path(run, split)
    if not is_kept(path):
        _compute(run, split, path, report)
    return np.load(path, mmap_mode="c")  # copy on write: torch wants arrays that may be written to


def _path(run: "Run", split: str) -> Path:
    return result_folder(run.folder) / f"features-{split}.npy"


def _compute(run: "Run", split: str, path: Path, report: Report) -> None:
    images = run.split(split).images
    path.parent.mkdir(parents=True, exist_ok=True)
    with keeping(path) as partial:
        written, at = None, 0
        for block in run.predictor.feature_blocks(images):
            if written is None:
                shape = (len(images), block.shape[1])
                written = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
            written[at : at + len(block)] = block.cpu().numpy()
            at += len(block)
            report(at / len(images))
        if written is None:
            np.save(partial, np.zeros((0, 1), np.float32))
        else:
            written.flush()
