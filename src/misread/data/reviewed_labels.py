"""A reviewed table of doubtful labels, as `misread labels` writes it: which image should have which label."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from misread.errors import DataError

DECIDED, SUGGESTED = "new", "suggested"


def read_reviewed(path: Path, accept: bool = False) -> dict[str, str]:
    """Hash -> class name, from a CSV with a header or a JSON array of objects, with the keys hash, new and suggested.

    A line counts when its `new` is filled in. accept: where it is not, `suggested` is taken.
    Raises DataError: unreadable, no such columns, no line that counts, or two lines that decide differently.
    """
    wanted: dict[str, str] = {}
    rows = _read(path)
    for number, row in enumerate(rows, 1):
        image = str(row.get("hash") or "").strip()
        new = str(row.get(DECIDED) or "").strip() or (str(row.get(SUGGESTED) or "").strip() if accept else "")
        if not image:
            raise DataError(f"{path}: row {number} has no hash, so that nothing says which image it is for.")
        if new and wanted.setdefault(image, new) != new:
            raise DataError(
                f"{path}: row {number} wants {new!r} for an image that another row wants {wanted[image]!r}."
            )
    if not wanted:
        raise DataError(
            f"None of the {len(rows):,} rows of {path} says what the label should be. Fill in the column {DECIDED!r} "
            "where a label is to be fixed, or take the suggestions of all of them with --accept."
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
            raise DataError(f"{path}: needed is an array of objects with hash, {DECIDED} and {SUGGESTED}.")
        return rows
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets write what their country uses
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
