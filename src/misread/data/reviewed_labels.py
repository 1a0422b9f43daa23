"""Reviewed tables of doubtful labels from `misread labels`: which image should have which label."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from misread.errors import DataError

DECIDED, SUGGESTED = "new", "suggested"


def read_reviewed(path: Path, accept: bool = False) -> dict[str, str]:
    """Hash -> class name, from a CSV with a header or a JSON array of objects, with the keys hash, new and suggested.

    Rows with an empty `new` are ignored. accept: they take `suggested` instead.
    Raises DataError: the file is unreadable, has other columns or no decided row, or two rows contradict each other.
    """
    wanted: dict[str, str] = {}
    rows = _read(path)
    for number, row in enumerate(rows, 1):
        image = str(row.get("hash") or "").strip()
        new = str(row.get(DECIDED) or "").strip() or (str(row.get(SUGGESTED) or "").strip() if accept else "")
        if not image:
            raise DataError(
                f"{path}: row {number} has no hash, so its image is unknown. "
                "Keep the column hash as misread labels wrote it."
            )
        if new and wanted.setdefault(image, new) != new:
            raise DataError(
                f"{path}: row {number} labels an image {new!r}, but another row labels it {wanted[image]!r}. "
                "Keep one of them."
            )
    if not wanted:
        raise DataError(
            f"None of the {len(rows):,} rows of {path} gives a new label. Fill in the column {DECIDED!r} for the "
            "labels to fix, or accept all suggestions with --accept."
        )
    return wanted


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} is not JSON: {error}.") from None
        if not all(isinstance(row, dict) for row in rows):
            raise DataError(f"{path}: it must be an array of objects with hash, {DECIDED} and {SUGGESTED}.")
        return rows
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets use the delimiter of their locale
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
