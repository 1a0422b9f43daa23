"""A small run, its pictures in tar files, and jobs in this process."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import misread
from misread.data.image_set import ImageSet
from samples import blocks
from shard_jobs import BROKEN, IMAGES, do_job, write_tar


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    data = ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]']
    out = tmp_path_factory.mktemp("shard runs")
    return misread.train(data, "tutorial-mlp", epochs=2, settings=settings, out=out, progress=False)


@pytest.fixture(scope="session")
def averaged(run: misread.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with a mean over views, which needs PyTorch."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    shutil.copytree(run.folder, folder)
    with (folder / "recipe.toml").open("a") as file:
        file.write("\n[test_time_augmentation]\nshift = 1\n")
    return folder


@pytest.fixture(scope="session")
def pictures() -> list[tuple[str, bytes, int]]:
    """Key, PNG and label of each image; one PNG is broken."""
    images, labels = blocks(IMAGES, seed=2)
    made = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        file = io.BytesIO()
        Image.fromarray(image[..., 0]).save(file, "png")
        made.append((f"{i:04}", b"no picture" if i == BROKEN else file.getvalue(), int(label)))
    return made


@pytest.fixture(scope="session")
def tars(tmp_path_factory: pytest.TempPathFactory, pictures: list[tuple[str, bytes, int]]) -> str:
    """A pattern of four tar files."""
    folder = tmp_path_factory.mktemp("tars")
    for number in range(4):
        write_tar(folder / f"{number:02}.tar", [
            (f"{key}.{ending}", contents)
            for key, png, label in pictures[number * 15 : number * 15 + 15]
            for ending, contents in (("png", png), ("cls", str(label).encode()))
        ])  # fmt: skip
    return f"{folder}/{{00..03}}.tar"


@pytest.fixture
def predict(run: misread.Run, tmp_path: Path) -> Callable[..., Any]:
    """`do_job` by the run, in a folder of the test."""

    def call(*given: str, out: Path | str = "out", **how: Any) -> Any:
        return do_job(run.folder, tmp_path / out, *given, **how)

    return call
