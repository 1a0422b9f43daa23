"""Small data sets that tests make for themselves, and the real MNIST where it is on the machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from misread.cli.main import main
from misread.data.idx import idx_bytes
from misread.data.image_set import ImageSet


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds this machine's data sets, cache or home, or writes beside the sources."""
    away = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(away))
    monkeypatch.setenv("MISREAD_CACHE", str(away / "cache"))
    monkeypatch.delenv("MISREAD_DATA", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.chdir(away)


_MNIST_ROOT = os.environ.get("MISREAD_DATA")
_MNIST_ROOT = str(Path(_MNIST_ROOT).resolve()) if _MNIST_ROOT else None


@pytest.fixture
def mnist_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above the real MNIST; skips where there is none."""
    if not _MNIST_ROOT or not (Path(_MNIST_ROOT) / "mnist").is_dir():
        pytest.skip("MISREAD_DATA does not lead to the real MNIST")
    monkeypatch.setenv("MISREAD_DATA", _MNIST_ROOT)
    return Path(_MNIST_ROOT)


def blocks(n: int, classes: int = 4, side: int = 8, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images that can be learnt in a moment: class k has a bright block at place k, among noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    images = rng.integers(0, 60, (n, side, side, channels), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * side // 2 :, column * side // 2 :][: side // 2, : side // 2] += 150
    return images, labels


@pytest.fixture
def block_set() -> ImageSet:
    """320 training and 80 test images of `blocks`."""
    return ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")


def write_idx_folder(folder: Path, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> Path:
    """The four files under MNIST's names, not compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx_bytes(images.squeeze(-1)))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    return folder


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    return write_idx_folder(tmp_path / "idx", blocks(40), blocks(20, seed=1))


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """The command line as a person or a script calls it."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        try:
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call
