"""The few images that a report shows: their pixels from their shard, their probabilities from its predictions."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from misread.data.geometry import Geometry
from misread.data.parquet_pictures import import_pyarrow
from misread.errors import DataError
from misread.scale.shard_images import images_at
from misread.scale.shards import Shard, check_unchanged, with_files


@dataclass(frozen=True)
class FetchTask:
    """Rows of a shard. place: the shard's, in the job. output: its predictions, with or without probabilities."""

    shard: Shard
    place: int
    rows: frozenset[int]
    output: Path
    probabilities: bool
    geometry: Geometry


@dataclass
class Fetched:
    """What was found, by row: pixels (H, W, C) uint8, probs (K,) float32. why: why pixels are missing, if any are."""

    place: int
    pixels: dict[int, np.ndarray] = field(default_factory=dict)
    probs: dict[int, np.ndarray] = field(default_factory=dict)
    why: str = ""


def fetch_images(task: FetchTask, report: Callable[[int], None]) -> Fetched:
    """The images of a shard. One that is gone or has changed gives no pixels: they could be those of other images."""
    found = Fetched(task.place)
    if task.probabilities:
        found.probs = _probabilities(task)
    try:
        shard = with_files(task.shard)
        check_unchanged(shard)
        with closing(images_at(shard, task.rows, task.geometry)) as images:
            for row, read in images:
                try:
                    found.pixels[row] = read()
                except DataError as error:
                    found.why = str(error)
    except (DataError, OSError) as error:
        found.why = str(error)
    return found


def _probabilities(task: FetchTask) -> dict[int, np.ndarray]:
    """Those of the rows. Only the row groups that have one are read."""
    import_pyarrow()
    import pyarrow.parquet as pq

    found: dict[int, np.ndarray] = {}
    with pq.ParquetFile(task.output, page_checksum_verification=True) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            wanted = [row for row in task.rows if start <= row < stop]
            if wanted:
                column = file.read_row_group(group, ["probabilities"], use_threads=False)["probabilities"]
                found |= {row: np.array(column[row - start].values, np.float32) for row in wanted}
            start = stop
    return found
