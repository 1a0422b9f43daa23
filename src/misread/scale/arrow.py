"""The form of the predictions: Arrow schema, settings of the Parquet writer, and reading them back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.data.parquet_pictures import import_pyarrow
from misread.errors import RunError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_PER_GROUP = 65_536
METADATA = b"misread"  # the key of the schema metadata that says where the predictions are from

# every setting that decides bytes is named, so that another default of pyarrow changes none
WRITER: Mapping[str, Any] = {
    "version": "2.6", "data_page_version": "1.0", "compression": "zstd", "compression_level": 3,
    "use_dictionary": ["shard", "label", "prediction"], "write_statistics": True, "store_schema": True,
    "write_batch_size": 1024, "data_page_size": 2**20, "dictionary_pagesize_limit": 2**20,
    "write_page_index": False, "write_page_checksum": True,
}  # fmt: skip


def prediction_schema(probabilities: bool) -> "pa.Schema":
    """The columns of a file of predictions; `docs/shards.md` says what they mean."""
    pa = import_pyarrow()
    columns = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("prediction", pa.string()),
        pa.field("confidence", pa.float32()),
        pa.field("margin", pa.float32()),
        pa.field("error", pa.string()),
    ]
    if probabilities:
        # of no fixed size: with one, pyarrow before 26 can neither write nor read a Parquet file that has a null in it
        columns.append(pa.field("probabilities", pa.list_(pa.float32())))
    return pa.schema(columns)


def strings(values: Sequence[str | None]) -> "pa.Array":
    """A column of texts. `pyarrow.array` would import pandas for it, where it is installed, in every process."""
    builder = import_pyarrow().lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def numbers(values: np.ndarray, kind: "pa.DataType", valid: np.ndarray | None = None) -> "pa.Array":
    """A column of (N,) values of one dtype. valid: (N,) bool, False where there is none; imports no pandas either."""
    pa = import_pyarrow()
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(np.ascontiguousarray(values))])


@contextmanager
def prediction_writer(path: Path, schema: "pa.Schema", about: Mapping[str, Any]) -> Iterator["pq.ParquetWriter"]:
    """A writer with the settings `WRITER`. about: kept in the file; `read_about` gives it back."""
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    with_about = schema.with_metadata({METADATA: json.dumps(about, sort_keys=True)})
    try:
        with pq.ParquetWriter(path, with_about, **WRITER) as writer:
            yield writer
    except pa.ArrowException as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def read_about(path: Path) -> dict[str, Any]:
    """What a file of predictions says about itself, and its numbers of `rows` and `errors`.

    Raises RunError: it cannot be read, is damaged, or is none of misread's.
    """
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = json.loads((file.schema_arrow.metadata or {})[METADATA])
            known = {key: about[key] for key in ("job", "shard", "class_names")}
            return {**known, "rows": file.metadata.num_rows, "errors": int(file.metadata.metadata[b"errors"])}
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise RunError(f"{path} is damaged, or no predictions of misread: {error}. Remove it.") from None
