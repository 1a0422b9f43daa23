"""The one task of a job: predict a shard and write its predictions. Whoever does the job calls this function."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.data.parquet_pictures import import_pyarrow
from misread.errors import RunError
from misread.files import replacing
from misread.scale.arrow import ROWS_PER_GROUP, numbers, prediction_schema, prediction_writer, read_about, strings
from misread.scale.job import JOB
from misread.scale.predictor import Predictor
from misread.scale.shard_images import Block, read_shard
from misread.scale.shards import Shard, check_unchanged

if TYPE_CHECKING:
    import pyarrow as pa

PROBABILITIES_PER_GROUP = 2**24  # float32

_loaded: dict[str, Predictor] = {}  # the last predictor of this process, so that not every shard loads it again


@dataclass(frozen=True)
class ShardTask:
    """A shard to predict. job: the digest of the job that it belongs to."""

    predictor: Predictor
    shard: Shard
    output: Path
    job: str
    probabilities: bool


@dataclass(frozen=True)
class ShardResult:
    """images: rows of the output; errors: those of them without a prediction."""

    images: int
    errors: int


def predict_shard(task: ShardTask, report: Callable[[int], None]) -> ShardResult:
    """Write the predictions of a shard, unless they are there. The bytes depend on the job and the shard alone.

    report: called with the number of images so far.
    Raises DataError: the shard is damaged or has changed since the job was begun. RunError: the output is another
    job's. OSError: the shard cannot be read or the output cannot be written now.
    """
    done = finished(task.output, task.job)
    if done is not None:
        report(done.images)
        return done
    check_unchanged(task.shard)
    predictor = _the_loaded(task.predictor)
    names, geometry = predictor.class_names, predictor.geometry
    schema = prediction_schema(task.probabilities)
    images = errors = 0
    about = {"job": task.job, "shard": task.shard.name, "class_names": list(names)}
    with (
        _naming_full_disk(task.output),
        replacing(task.output) as partial,
        prediction_writer(partial, schema, about) as writer,
    ):
        for group in _groups(read_shard(task.shard, names, geometry), len(names)):
            rows = []
            for block in group:
                rows.append(_batch(block, predictor, names, task.shard.name, images, schema))
                images += len(block.keys)
                errors += len(block.keys) - len(block.images)
                report(images)
            writer.write_table(import_pyarrow().Table.from_batches(rows, schema))
        writer.add_key_value_metadata({"errors": str(errors)})
    return ShardResult(images, errors)


@contextmanager
def _naming_full_disk(output: Path) -> Iterator[None]:
    """The error of a full disk has the name of the file, which the system does not give."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(output)) from None


def facts_of(predictor: Predictor, report: Callable[[Any], None]) -> dict[str, Any]:
    """`Predictor.facts`, as a task: the process that gives the tasks then needs no PyTorch."""
    return predictor.facts()


def finished(output: Path, job: str) -> ShardResult | None:
    """What a shard's output says, if it exists and is whole. Raises RunError: another job wrote it."""
    if not output.exists():
        return None
    try:
        about = read_about(output)
    except RunError:
        return None  # a rename makes it whole, so the disk has damaged it: it is written again
    if about.get("job") != job:
        raise RunError(
            f"{output} was written by another job, or {JOB} has changed since. Remove it, or choose another --out."
        )
    return ShardResult(about["rows"], about["errors"])


def _the_loaded(predictor: Predictor) -> Predictor:
    digest = predictor.digest()
    if digest not in _loaded:
        _loaded.clear()
        _loaded[digest] = predictor
    return _loaded[digest]


def _groups(blocks: Iterator[Block], classes: int) -> Iterator[list[Block]]:
    """Blocks gathered for the row groups of the output. These are smaller if there are many classes."""
    rows = min(ROWS_PER_GROUP, PROBABILITIES_PER_GROUP // classes)
    group: list[Block] = []
    for block in blocks:
        group.append(block)
        if sum(len(b.keys) for b in group) >= rows:
            yield group
            group = []
    if group:
        yield group


def _batch(
    block: Block, predictor: Predictor, names: Sequence[str], shard: str, first_row: int, schema: "pa.Schema"
) -> "pa.RecordBatch":
    """The rows of a block. What has an error has no prediction."""
    pa = import_pyarrow()
    n, good = len(block.keys), np.array([error is None for error in block.errors], dtype=bool)
    probs = np.full((n, len(names)), np.nan, np.float32)
    if len(block.images):
        probs[good] = predictor(block.images)
    ordered = np.partition(probs, -2, axis=1)  # the last is the greatest, the one before it the second
    best = zip(probs.argmax(axis=1).tolist(), good.tolist(), strict=True)
    columns = {
        "key": strings(block.keys),
        "shard": strings([shard] * n),
        "row": numbers(np.arange(first_row, first_row + n, dtype=np.int64), pa.int64()),
        "label": strings(block.labels),
        "prediction": strings([names[k] if ok else None for k, ok in best]),
        "confidence": numbers(ordered[:, -1], pa.float32(), good),
        "margin": numbers(ordered[:, -1] - ordered[:, -2], pa.float32(), good),
        "error": strings(block.errors),
    }
    if "probabilities" in schema.names:
        ends = numbers(np.concatenate([[0], np.cumsum(good * len(names))]).astype(np.int32), pa.int32())
        missing = pa.Array.from_buffers(pa.bool_(), n, [None, pa.py_buffer(np.packbits(~good, bitorder="little"))])
        every = numbers(probs[good].reshape(-1), pa.float32())
        columns["probabilities"] = pa.ListArray.from_arrays(ends, every, mask=missing)
    return pa.RecordBatch.from_pydict(columns, schema=schema)
