"""CSV files with one image per line: its label, then its pixels row by row."""

import csv
import math
from pathlib import Path

import numpy as np

from misread.data.bounded_lines import bounded_lines
from misread.data.image_set import ImageSet, build_image_set
from misread.data.memory import check_fits
from misread.errors import DataError

MEMORY_PER_BYTE = 4  # at least: every cell of two characters becomes a text and a number


def load_csv(path: Path, size: tuple[int, int] | None = None) -> ImageSet:
    """An image set from `label, pixel, pixel, ...` lines, with or without a header line.

    size: (H, W) of the images. Without it they are assumed to be square.
    Raises DataError: lines of different lengths, text, values outside 0..255, or a pixel count that fits no image.
    """
    import pandas as pd

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = [cell.strip() for cell in next(csv.reader(bounded_lines(file, path)), [])]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as text: {error}.") from None
    if not any(first):
        raise DataError(f"{path} is empty. Each line needs a label and the pixels of an image.")
    check_fits(
        MEMORY_PER_BYTE * path.stat().st_size, f"{path} as a table", "Save the images as an .npz or as .npy files."
    )
    header = sum(map(_is_number, first)) < len(first) / 2  # an image line with one bad cell is not a header
    try:
        table = pd.read_csv(
            path, header=None, skiprows=int(header), dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} has a header line but no images. Add a line for each image.") from None
    except pd.errors.ParserError as error:
        raise DataError(
            f"{path} has lines of different lengths: {str(error).split('C error: ')[-1].strip()}."
        ) from None
    cells = table.to_numpy()
    try:
        values = cells.astype(np.float64)
    except ValueError:
        _raise_first_bad_cell(path, cells, header)
    if not np.isfinite(values).all():
        _raise_first_bad_cell(path, cells, header)
    shape = _image_shape(path, values.shape[1] - 1, size)
    images = values[:, 1:].reshape(-1, *shape)
    return build_image_set(path.stem, {"train": (images, values[:, 0])}, location=str(path), size=size)


def _image_shape(path: Path, pixels: int, size: tuple[int, int] | None) -> tuple[int, int, int]:
    shapes = [(*size, c) for c in (1, 3)] if size else [(s, s, c) for c in (1, 3) for s in [math.isqrt(pixels // c)]]
    for height, width, channels in shapes:
        if pixels and height * width * channels == pixels:
            return height, width, channels
    expected = f"{size[0]}x{size[1]} images" if size else "square images"
    raise DataError(
        f"{path} has {pixels} pixels per line, which do not make {expected} in grey or RGB.\n"
        "Each line needs a label and all pixels. If the images are not square, give their size with --size HxW."
    )


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _raise_first_bad_cell(path: Path, cells: np.ndarray, header: bool) -> None:
    for row, line in enumerate(cells):
        for column, cell in enumerate(line):
            if not _is_number(cell):
                where = f"{path}, line {row + 1 + header}, column {column + 1}"
                if cell == "":
                    raise DataError(f"{where}: the cell is empty. Every line needs a label and all pixels.")
                raise DataError(f"{where}: {cell!r} is not a number. Labels and pixels are whole numbers.")
