"""The pictures of a Parquet file: a column of structs `{bytes, path}`, as Hugging Face data sets have, or of bytes."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from misread.data.locations import open_file
from misread.data.picture import decode_picture
from misread.data.shard_pictures import Picture, class_of
from misread.errors import DataError, MisreadError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 256
IMAGE_COLUMNS, LABEL_COLUMNS, KEY_COLUMNS = ("image", "img"), ("label", "labels"), ("key", "__key__", "id")


def import_pyarrow() -> Any:
    """The package pyarrow. Raises MisreadError: it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MisreadError("Shards need pyarrow, which is not installed. pip install 'misread[shards]'") from None
    return pyarrow


def parquet_pictures(path: str, class_names: Sequence[str]) -> Iterator[Picture]:
    """The pictures in the order of the rows. The key is the column `key`, or the picture's path, or the row's number.

    A whole number as the label is an index: into the names that the file's Hugging Face metadata has for the column,
    or else into `class_names`.
    Raises DataError: the file is damaged, or has no column of pictures.
    """
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    with open_file(path) as file:
        try:
            table = pq.ParquetFile(file)
            schema = table.schema_arrow
            image = _image_column(schema, path)
            label, key = _column(schema, LABEL_COLUMNS), _column(schema, KEY_COLUMNS)
            names = _label_names(schema, label) or class_names
            columns = [column for column in (image, label, key) if column is not None]
            row = 0
            for batch in table.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    yield _picture(values[image], values.get(key), class_of(values.get(label), names), row)
                    row += 1
        except pa.ArrowException as error:
            raise _damaged(path, error) from None


def _picture(cell: Any, key: Any, label: str | None, row: int) -> Picture:
    contents, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    name = str(row if key is None and not path else path if key is None else key)

    def read() -> np.ndarray:
        if contents is None:
            raise DataError(f"Row {row:,} has no bytes of a picture.")
        return decode_picture(io.BytesIO(contents), name)

    return Picture(name, label, read)


def _image_column(schema: "pa.Schema", path: str) -> str:
    """The column of pictures: one of the usual names, or the only one of its kind."""
    found = [field.name for field in schema if _has_bytes(field.type)]
    usual = [name for name in IMAGE_COLUMNS if name in found]
    if usual or len(found) == 1:
        return (usual or found)[0]
    raise DataError(
        f"{path} has {'several columns' if found else 'no column'} of pictures; its columns are "
        f"{', '.join(schema.names)}.\nName the column of structs {{bytes, path}}, or of bytes, `image`."
    )


def _has_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return "bytes" in [field.name for field in kind]
    return types.is_binary(kind) or types.is_large_binary(kind)


def parquet_class_names(path: str) -> tuple[str, ...]:
    """The class names in the metadata that the `datasets` library writes; empty if there are none.

    Raises DataError: the file is damaged.
    """
    pa = import_pyarrow()
    import pyarrow.parquet as pq

    with open_file(path) as file:
        try:
            schema = pq.ParquetFile(file).schema_arrow
        except pa.ArrowException as error:
            raise _damaged(path, error) from None
    return tuple(_label_names(schema, _column(schema, LABEL_COLUMNS)) or ())


def _damaged(path: str, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or no Parquet file: {error}. Make it again.")


def _column(schema: "pa.Schema", names: Sequence[str]) -> str | None:
    """The first of these columns that there is."""
    return next((name for name in names if name in schema.names), None)


def _label_names(schema: "pa.Schema", label: str | None) -> Sequence[str] | None:
    """The class names in the metadata that the `datasets` library writes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
