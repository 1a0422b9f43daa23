"""Tables of picture files and their labels: `metadata.csv` or `.jsonl` in the format of Hugging Face's ImageFolder.

Tables are untrusted: a file name that leaves the table's folder, through `..` or a link, is refused.
"""

import csv
import json
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from misread.data.bounded_lines import bounded_lines
from misread.data.listing import SPLIT_NAMES, LabelledFiles, Listing, class_order
from misread.data.picture_files import PictureFile, is_picture_name
from misread.errors import DataError

FILE_COLUMNS = ("file_name", "filename", "file", "image", "path", "id")
LABEL_COLUMNS = ("label", "class", "class_name", "category")
SPLIT_COLUMN = "split"
STEMS, SUFFIXES = ("metadata", "labels"), (".csv", ".jsonl")  # names of the tables that are looked for in a folder
PROBED = 100  # lines tried to find the folder that the names are relative to

Record = tuple[int, dict[str, Any], int]  # a line's number, its cells by column (in lower case), how many have none


class Row(NamedTuple):
    """A line of a table; `split` is empty if the table does not give it."""

    line: int
    file: str
    label: str
    split: str


def find_table(folder: Path) -> Path | None:
    """The table of labels in a folder: `metadata` before `labels`; None if there is none. Others are skipped.

    Raises DataError: two tables have the same stem, or one cannot be read.
    """
    for stem in STEMS:
        paths = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
        found = [path for path in paths if (first := _first(path)) and _file_column(first) and _label_column(first)]
        if len(found) > 1:
            raise DataError(f"{folder} has {found[0].name} and {found[1].name}. Keep one of them.")
        if found:
            return found[0]
    return None


def is_file_table(path: Path) -> bool:
    """Whether a CSV or JSON Lines file names pictures. Raises DataError: it is damaged, or has no header line."""
    first = _first(path)
    if any(is_picture_name(column) for column in first):
        raise DataError(f"{path} has no header line. Add the names of its columns as the first line: file_name,label")
    return _file_column(first) is not None


def list_table(table: Path) -> Listing:
    """The pictures that a table names, split by split in the order of its lines.

    The split comes from the column `split`. Without it, the first folder in each file name is the split, if this holds
    for every line; else all lines are train. Names are relative to the table's folder, to a folder beside the table
    with the table's name, or to the only folder there.
    Raises DataError: no labels, a name that leaves the folder or appears twice, unknown splits, or labels that train
    does not have.
    """
    rows = _rows(table)
    root = _root(table, [row.file for row in rows[:PROBED]])
    return _listing(table.parent, {table: (root, _with_splits(rows))})


def list_split_tables(folder: Path) -> Listing | None:
    """The pictures that the tables in train/, val/ and test/ name; None if train/ has no table."""
    tables = {}
    for path in sorted(path for path in folder.iterdir() if path.name.lower() in SPLIT_NAMES and path.is_dir()):
        split = SPLIT_NAMES[path.name.lower()]
        table = find_table(path)
        if table:
            rows = [row._replace(split=split) for row in _rows(table)]
            tables[table] = (_root(table, [row.file for row in rows[:PROBED]]), rows)
    if not any(row.split == "train" for _, rows in tables.values() for row in rows[:1]):
        return None
    return _listing(folder, tables)


def _listing(folder: Path, tables: dict[Path, tuple[Path, list[Row]]]) -> Listing:
    """The listing of all rows, with file names relative to `folder`."""
    rows = [(table, root, row) for table, (root, listed) in tables.items() for row in listed]
    names = class_order({row.label for _, _, row in rows if row.split == "train"})
    index = {name: k for k, name in enumerate(names)}
    splits: dict[str, LabelledFiles] = {}
    problems: list[str] = []
    seen: dict[str, str] = {}
    finder = _Finder(folder)
    prefixes = {root: os.path.relpath(root, folder) for root, _ in tables.values()}
    for table, root, row in rows:
        where = f"{table}, line {row.line}"
        if row.label not in index:
            raise DataError(
                f"{where}: the label {row.label!r} of the {row.split} split does not occur in the train split."
                " Correct it, or add training images of this class."
            )
        found = finder.find(prefixes[root], row.file, where)
        if isinstance(found, str):
            problems.append(found)
            continue
        if found.name in seen:
            raise DataError(f"{where}: {row.file} is already in {seen[found.name]}. Keep one of the lines.")
        seen[found.name] = where
        listed = splits.setdefault(row.split, LabelledFiles())
        listed.files.append(found)
        listed.labels.append(index[row.label])
    tables_text = " and ".join(map(str, tables))
    if "train" not in splits:
        problem = problems[0] if problems else "No line belongs to the train split."
        raise DataError(f"{tables_text}: there is no training image. {problem}")
    places = tuple(f"{tables_text}: the class {name!r}" for name in names)
    return Listing(folder, names, places, splits, tuple(problems))


class _Finder:
    """Finds the files that tables name, and refuses files outside `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._real_folder = os.path.realpath(folder)
        self._inside: dict[str, bool] = {}  # folder -> whether it is inside `folder` after links are resolved

    def find(self, prefix: str, name: str, where: str) -> PictureFile | str:
        """The file that a table names, relative to `prefix` in the folder; or a message if there is none.

        Raises DataError: the name leaves the folder.
        """
        if os.path.isabs(name) or os.path.splitdrive(name)[0]:
            raise self._leads_out(name, where)
        for spelling in _spellings(name):
            relative = os.path.normpath(os.path.join(prefix, spelling))
            if relative.split(os.sep)[0] == os.pardir:
                raise self._leads_out(name, where)
            path = os.path.join(self.folder, relative)
            try:
                state = os.lstat(path)
                if stat.S_ISLNK(state.st_mode):
                    inside, state = self._is_inside(os.path.realpath(path)), os.stat(path)
                else:
                    inside = self._parent_is_inside(os.path.dirname(path))
            except (OSError, ValueError):  # ValueError: a name with a null character
                continue
            if not inside:
                raise self._leads_out(name, where)
            if not stat.S_ISREG(state.st_mode):
                return f"{path} is not a file ({where})."
            return PictureFile(relative, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        return f"{Path(self.folder, prefix, name)} does not exist ({where})."

    def _parent_is_inside(self, parent: str) -> bool:
        if parent not in self._inside:
            self._inside[parent] = self._is_inside(os.path.realpath(parent))
        return self._inside[parent]

    def _is_inside(self, real: str) -> bool:
        return real == self._real_folder or real.startswith(os.path.join(self._real_folder, ""))

    def _leads_out(self, name: str, where: str) -> DataError:
        return DataError(
            f"{where}: {name!r} is outside {self.folder}. Move the picture into it, and name it relative to the table."
        )


def _spellings(name: str) -> Iterator[str]:
    """A name as written, then with the spelling of other programs and systems.

    Variants: without surrounding spaces, `/` for `\\`, and Unicode in composed (NFC) or decomposed (NFD) form.
    """
    yield name  # nearly always
    others = [name.strip(), name.strip().replace("\\", "/")]
    others += [unicodedata.normalize(form, other) for form in ("NFC", "NFD") for other in (name, *others)]
    yield from dict.fromkeys(others)


def _root(table: Path, names: list[str]) -> Path:
    """The folder that the names are relative to: the first in which one of them is."""
    finder = _Finder(table.parent)

    def has_any(prefix: str) -> bool:
        return any(isinstance(finder.find(prefix, name, str(table)), PictureFile) for name in names)

    if has_any(""):
        return table.parent
    with os.scandir(table.parent) as entries:
        beside = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    called_alike = [name for name in beside if name == table.stem]
    for name in (*called_alike, *(beside if len(beside) == 1 else ())):
        if has_any(name):
            return table.parent / name
    return table.parent


def _with_splits(rows: list[Row]) -> list[Row]:
    """The rows, each with its split."""
    if all(row.split for row in rows):
        return rows
    splits = [SPLIT_NAMES.get(row.file.replace("\\", "/").split("/")[0].lower()) for row in rows]
    by_folder = None not in splits and "train" in splits
    return [
        row._replace(split=split if by_folder and split else "train") for row, split in zip(rows, splits, strict=True)
    ]


def _rows(table: Path) -> list[Row]:
    """All lines of a table, checked. Raises DataError: a column or a cell is missing, or a split is unknown."""
    first = _first(table)
    file_column, label_column = _file_column(first), _label_column(first)
    if file_column is None or label_column is None:
        raise DataError(
            f"{table} has the columns {', '.join(first) or '(none)'}. It needs a column {FILE_COLUMNS[0]} "
            f"with file names and a column {LABEL_COLUMNS[0]} with labels."
        )
    rows = []
    for line, cells, extra in _records(table):
        where = f"{table}, line {line}"
        if extra:
            raise DataError(
                f"{where} has {len(first) + extra} cells, but the header has {len(first)}. Put cells that contain a "
                "comma between quotes."
            )
        file, label = cells.get(file_column), _text(cells.get(label_column))
        if not isinstance(file, str) or not file.strip():
            raise DataError(f"{where}: the file name is missing. Fill it in, or remove the line.")
        if not label:
            raise DataError(
                f"{where}: the label of {file} is missing, or it is neither a line of text nor a whole number.\n"
                "Fill it in, or remove the line."
            )
        split = ""
        if SPLIT_COLUMN in first:
            split = SPLIT_NAMES.get(str(cells.get(SPLIT_COLUMN)).strip().lower(), "")
            if not split:
                raise DataError(f"{where}: {cells.get(SPLIT_COLUMN)!r} is not a split. Use train, val or test.")
        rows.append(Row(line, file, label, split))
    return rows


def _text(label: Any) -> str:
    """A label as text; empty if the value is not a label."""
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if not isinstance(label, str):
        return ""
    if not label.isprintable() and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in label):
        return ""  # control characters, and halves of characters, can be neither printed nor written
    return label.strip()


def _file_column(cells: dict[str, Any]) -> str | None:
    """The column of file names: `file_name`, or another known name if its first cell looks like a picture file."""
    column = next((name for name in FILE_COLUMNS if name in cells), None)
    named = column == FILE_COLUMNS[0] or (column is not None and is_picture_name(str(cells[column]).strip()))
    return column if named else None


def _label_column(cells: dict[str, Any]) -> str | None:
    return next((name for name in LABEL_COLUMNS if name in cells), None)


def _first(table: Path) -> dict[str, Any]:
    """The cells of the first line, by column; empty where there is none."""
    return next(_records(table), (0, {}, 0))[1]


def _records(table: Path) -> Iterator[Record]:
    """The lines of a CSV or JSON Lines file. Raises DataError: it cannot be read."""
    read = _json_records if table.suffix.lower() == ".jsonl" else _csv_records
    try:
        yield from read(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}. Save it as UTF-8 text.") from None


def _csv_records(table: Path) -> Iterator[Record]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(bounded_lines(file, table))
        header = [name.strip().lower() for name in next(reader, [])]
        for cells in reader:
            if any(cells):
                padded = (*cells, *[""] * (len(header) - len(cells)))
                yield reader.line_num, dict(zip(header, padded, strict=False)), len(padded) - len(header)


def _json_records(table: Path) -> Iterator[Record]:
    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(bounded_lines(file, table), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{table}, line {number} is not JSON: {error}. Each line must be one object.") from None
            if not isinstance(value, dict):
                raise DataError(
                    f'{table}, line {number} is not a JSON object, such as {{"file_name": ..., "label": ...}}.'
                )
            yield number, {name.strip().lower(): cell for name, cell in value.items()}, 0
