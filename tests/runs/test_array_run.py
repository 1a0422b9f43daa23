"""Opening a run only to predict: by the kernels alone where they can, else by PyTorch, with the same predictions."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data.image_set import ImageSet
from misread.engine.library import load_library
from misread.errors import RunError
from misread.runs.array_run import ArrayRun, array_run, open_to_predict
from misread.runs.run_folder import RECIPE, WEIGHTS, read_record
from samples import blocks

SMALL = 'layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]'
OTHER = 'layers=[{type="Flatten"}, {type="Dense", units=8, activation="gelu"}, {type="Dense", units="classes"}]'


def trained(data: ImageSet, out: Path, settings: Sequence[str]) -> Path:
    return misread.train(data, "tutorial-mlp", epochs=1, settings=settings, out=out, progress=False).folder


@pytest.fixture
def small(block_set: ImageSet, tmp_path: Path) -> Path:
    return trained(block_set, tmp_path, [SMALL])


@pytest.mark.parametrize(
    "settings", [[SMALL], [OTHER], [SMALL, "members=2"], [SMALL, "test_time_augmentation.shift=1"]]
)
def test_it_predicts_as_the_run_does(block_set: ImageSet, tmp_path: Path, settings: list[str]) -> None:
    folder = trained(block_set, tmp_path, settings)
    images, _ = blocks(50, seed=2)
    opened = open_to_predict(folder, "cpu")
    assert isinstance(opened, ArrayRun) == (settings == [SMALL] and load_library() is not None)
    np.testing.assert_allclose(opened.predict(images), misread.open_run(folder).predict(images), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(opened.predict(images[..., 0]), opened.predict(images))
    with pytest.raises(misread.DataError, match=r"they must be uint8 \(N, H, W, C\) with \(H, W, C\) = \(8, 8, 1\)"):
        opened.predict(images[:, :7])


@pytest.mark.skipif(load_library() is None, reason="there are no compiled kernels")
@pytest.mark.parametrize("gpu", [False, True])
def test_the_device_decides_and_not_how_it_was_found_out(
    small: Path, gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Machines with a driver make the same predictions as those without."""
    monkeypatch.setattr("misread.runs.array_run.metadata.version", lambda name: "2.9.0")
    monkeypatch.setattr("misread.runs.array_run.os.listdir", lambda folder: ["null", "nvidia0"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    record, contents = read_record(small), [(small / name).read_bytes() for name in (RECIPE, WEIGHTS)]
    assert (array_run(record, *contents, "auto") is None) == gpu
    assert array_run(record, *contents, "cpu") is not None
    assert array_run(record, *contents, "cuda") is None


@pytest.mark.parametrize("name", ["model.safetensors", "recipe.toml", "run.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_what_is_damaged_is_said_as_by_open_run(small: Path, name: str, damage: str) -> None:
    contents = (small / name).read_bytes()
    (small / name).unlink()
    if damage == "cut":
        (small / name).write_bytes(contents[: len(contents) // 2])
    with pytest.raises(RunError) as expected:
        misread.open_run(small).network  # noqa: B018
    with pytest.raises(RunError) as found:
        open_to_predict(small)
    assert str(found.value) == str(expected.value)


def test_weights_of_another_network_are_refused(small: Path, block_set: ImageSet, tmp_path: Path) -> None:
    other = trained(block_set, tmp_path / "other", [OTHER])
    shutil.copy(other / "model.safetensors", small / "model.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors does not fit the network"):
        open_to_predict(small)


@pytest.mark.skipif(load_library() is None, reason="there are no compiled kernels")
def test_the_command_predicts_a_picture_without_pytorch(small: Path, tmp_path: Path) -> None:
    Image.fromarray(blocks(1)[0][0, ..., 0]).save(tmp_path / "a.png")
    code = (
        "import sys; from misread.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'pandas'} & set(sys.modules))"
    )
    given = ["predict", small, tmp_path / "a.png", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
