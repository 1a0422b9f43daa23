"""`load`: an image set from a name or a path."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

from misread.data.drawings import DIGITS, PREFIX, drawn_sets, load_drawings
from misread.data.image_set import ImageSet
from misread.data.load_progress import Lines, ignore, to_stderr
from misread.data.locations import is_shard_name, is_url
from misread.data.memory import check_fits
from misread.data.named import NAMED
from misread.errors import DataError
from misread.names import nearest

EMBEDDED = "digits"
Progress = Lines | Literal["decoding"] | None


def load(
    data: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    strict: bool = False,
    progress: Progress = "decoding",
) -> ImageSet:
    """An image set from a name (`mnist`, `fashion-mnist`, `kmnist`, `digits`, `my-digits`) or a path.

    `my-digits` are the drawings that the user kept in the studio; `misread.data.drawings` describes such sets. A path
    of the same name comes first.

    A path is a folder of IDX files, a folder of `.npy` files, a folder of class folders (also under train/ val/
    test/), a folder of pictures with a table of labels (`metadata.csv`, `metadata.jsonl`) or that table, an `.npz` with
    Keras's keys, a `.csv` of labels and pixels, or shards: tar files in the form of WebDataset or Parquet files, as a
    folder, a path, a URL, or a pattern such as `shards/{000..099}.tar`. Pictures are decoded once and cached.

    size:     height and width: pictures in folders and shards are resized to it; the pixels of a CSV have it.
    strict:   refuse a folder or shards with unreadable files. By default they are left out and reported.
    progress: called with lines of text: the sources tried for a named set, and the number of pictures decoded from a
              folder. If standard error is a terminal, a progress bar there shows the number instead. "decoding" shows
              only the number, on standard error. None shows nothing.
    Raises DataError: there is no such name or path, or its data cannot be used.
    """
    started = time.perf_counter()
    hw = (size, size) if isinstance(size, int) else size
    if hw and min(hw) < 1:
        raise DataError(f"The size {hw[0]}x{hw[1]} is not possible for an image. Both numbers must be 1 or more.")
    if hw:
        check_fits(3 * hw[0] * hw[1], f"One image of {hw[0]}x{hw[1]}", "Use a smaller size.")
    loaded = _load(data, hw, strict, progress)
    if hw and loaded.image_shape[:2] != hw:
        height, width, _ = loaded.image_shape
        raise DataError(
            f"{data} has images of {height}x{width}, not {hw[0]}x{hw[1]}; only pictures in folders and shards can be "
            "resized."
        )
    named = isinstance(data, str) and (data in (*NAMED, EMBEDDED) or _is_drawn(data))
    source = str(data) if named or is_url(str(data)) else str(Path(data).expanduser().resolve())
    return replace(loaded, source=source, load_seconds=time.perf_counter() - started)


def _load(data: str | Path, size: tuple[int, int] | None, strict: bool, progress: Progress) -> ImageSet:
    if data == EMBEDDED:
        from misread.data.digits import load_digits

        return load_digits()
    if isinstance(data, str) and data in NAMED:
        from misread.data.download import load_named

        return load_named(NAMED[data], progress if callable(progress) else ignore)
    if _is_drawn(data):
        return load_drawings(str(data))
    lines = to_stderr if progress == "decoding" else progress
    path = Path(data).expanduser()
    if path.is_dir():
        return _load_folder(path, str(data), size, strict, lines)
    if path.suffix.lower() == ".npy" and path.is_file():
        from misread.data.npy import load_npy

        return load_npy(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        from misread.data.npz import load_npz

        return load_npz(path)
    if path.suffix.lower() in (".csv", ".jsonl") and path.is_file():
        from misread.data.csv_table import load_csv
        from misread.data.file_table import STEMS, is_file_table, list_table
        from misread.data.listing import load_listing

        if path.suffix.lower() == ".jsonl" or is_file_table(path):
            name = path.resolve().parent.name if path.stem in STEMS else path.stem
            return load_listing(list_table(path), name, str(path), size, strict, lines)
        return load_csv(path, size)
    if is_shard_name(str(data)):
        from misread.data.shard_set import load_shards

        return load_shards(str(data), size, strict, lines)
    names = (*NAMED, EMBEDDED, *drawn_sets())
    if path.exists():
        raise DataError(
            f"{path} is not a data set. Use a folder, an .npz, .npy, .csv, .jsonl, .tar or .parquet file, or one of "
            f"{', '.join(names)}."
        )
    raise DataError(
        f"There is no data set or path {str(data)!r}.{nearest(str(data), names)}\n"
        f"Known names: {', '.join(names)}; or the path of a folder, an .npz, .npy, .csv, .jsonl, .tar or .parquet file."
    )


def _load_folder(path: Path, given: str, size: tuple[int, int] | None, strict: bool, lines: Lines | None) -> ImageSet:
    """IDX or .npy files, a table of pictures, shards, or class folders. given: the path as text."""
    from misread.data.file_table import find_table, list_split_tables, list_table
    from misread.data.folder import list_class_folders
    from misread.data.idx_folder import find_idx, load_idx_folder
    from misread.data.listing import load_listing
    from misread.data.npy import find_npy, load_npy
    from misread.data.shard_files import shards_in
    from misread.data.shard_set import load_shards

    if find_idx(path):
        return load_idx_folder(path)
    if find_npy(path):
        return load_npy(path)
    table = find_table(path)
    if not table and shards_in(path):
        return load_shards(given, size, strict, lines)
    listing = list_table(table) if table else list_split_tables(path) or list_class_folders(path)
    return load_listing(listing, path.resolve().name, str(path), size, strict, lines)


def _is_drawn(data: str | Path) -> bool:
    """Whether it names drawings of the user: `my-digits`, or another set that there is."""
    name = str(data)
    return name.startswith(PREFIX) and not Path(data).exists() and (name == DIGITS or name in drawn_sets())
