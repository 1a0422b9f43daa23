"""What the tests of shards share: tar files, workers without processes, and what a job left in its folder."""

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread.workers import TaskDone

IMAGES = 60
BROKEN = 7  # this one is no picture


def write_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, contents in files:
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))


def in_process(function: Callable[..., Any], tasks: Sequence[Any], *need: Any) -> Any:
    """Workers without processes."""
    for index, task in enumerate(tasks):
        try:
            yield TaskDone(index, 0, function(task, lambda images: None), None, 1, 0.0)
        except misread.MisreadError as error:
            yield TaskDone(index, 0, None, error, 1, 0.0)


def start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks of shards are done in this process, whatever a command asks for."""
    monkeypatch.setattr("misread.scale.run_job.run_tasks", lambda function, tasks, *more: in_process(function, tasks))


def do_job(
    run: Path, out: Path, *given: str, part: slice = slice(None), size: int = 10_000, workers: Any = in_process,
    probabilities: bool = False,
) -> tuple[Any, Path]:  # fmt: skip
    """A whole job or a part of it; returns its last state and its folder."""
    from misread.scale.job import open_job
    from misread.scale.predictor import Predictor
    from misread.scale.run_job import run_job
    from misread.scale.shards import find_shards

    predictor = Predictor(run)
    job = open_job(out, predictor.facts, find_shards(given, size), probabilities)
    *_, state = run_job(job, job.shards[part], predictor, workers)
    return state, out


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of all predictions in a folder, in order."""
    import pyarrow.parquet as pq

    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a job by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def expected_of(run: misread.Run, folder: Path, pictures: list[tuple[str, bytes, int]]) -> list[np.ndarray | None]:
    """The probabilities of each picture, predicted one by one from a file; None of the broken one."""
    found = []
    for key, png, _ in pictures:
        path = folder / f"{key}.png"
        path.write_bytes(png)
        by_class = None if png == b"no picture" else dict(run.predict_file(path))
        found.append(by_class and np.array([by_class[name] for name in run.record.data.class_names], np.float32))
    return found
