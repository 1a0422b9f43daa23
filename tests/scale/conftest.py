"""A small run, its pictures in tar files, and jobs in this process."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import misread
from misread.data.image_set import ImageSet
from samples import blocks
from shard_jobs import BROKEN, IMAGES, in_process, write_tar


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    data = ImageSet.from_arrays(*blocks(320), test=blocks(80, seed=1), name="blocks")
    settings = ['layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]']
    out = tmp_path_factory.mktemp("shard runs")
    return misread.train(data, "tutorial-mlp", epochs=2, settings=settings, out=out, progress=False)


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
    """Does a whole job or a part of it in this process; returns its last state, its rows by shard, and its folder."""
    from misread.scale.job import open_job
    from misread.scale.predictor import Predictor
    from misread.scale.run_job import run_job
    from misread.scale.shards import find_shards

    def call(
        *given: str, out: Path | str = "out", part: slice = slice(None), size: int = 10_000,
        engine: Any = in_process, probabilities: bool = False,
    ) -> Any:  # fmt: skip
        predictor = Predictor(run.folder)
        job = open_job(tmp_path / out, predictor, find_shards(given, size), probabilities)
        *_, state = run_job(job, job.shards[part], predictor, engine)
        return state, tmp_path / out

    return call
