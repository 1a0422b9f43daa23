"""The predictor that is sent to other processes."""

import errno
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.errors import DataError, RunError
from misread.scale.predictor import Predictor
from samples import blocks


def test_a_pickled_predictor_predicts_in_another_process_without_its_folder(run: misread.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    (tmp_path / "predictor").write_bytes(pickle.dumps(Predictor(folder)))
    shutil.rmtree(folder)
    images, _ = blocks(30, seed=3)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import pickle, sys, numpy; folder = sys.argv[1]; predictor = pickle.load(open(f'{folder}/predictor', 'rb')); "
        "numpy.save(f'{folder}/probs.npy', predictor(numpy.load(f'{folder}/images.npy')))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, tmp_path], check=True)
    assert np.allclose(np.load(tmp_path / "probs.npy"), run.predict(images), rtol=0, atol=1e-6)


def test_a_predictor_needs_a_run_folder_and_images_in_the_training_shape(run: misread.Run, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"run\.json cannot be read: No such file or directory\. RUN must be a run folder"
    ):
        Predictor(tmp_path)
    with pytest.raises(DataError, match="they must be uint8"):
        Predictor(run.folder)(np.zeros((2, 9, 9), np.uint8))


def test_a_full_folder_for_temporary_files_is_named(
    averaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    predictor = Predictor(averaged)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=f"{tmp_path} cannot be written: No space left on device. .* or set TMPDIR"):
        predictor.facts()


def test_predictors_are_told_apart_by_their_weights(run: misread.Run, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run.folder, other)
    assert Predictor(other).digest() == Predictor(run.folder).digest()
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    assert Predictor(other).digest() != Predictor(run.folder).digest()
