"""Text files made to do harm: endless lines, sizes that no memory holds, formulas, names of any script."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.data import bounded_lines, label_patch
from misread.data.label_patch import read_patch
from misread.errors import DataError
from samples import Result, blocks


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label\na.png," + "1," * 600),
        ("pixels.csv", "1," * 600),
        ("metadata.jsonl", "[" * 1200),
    ],
)
def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setattr(bounded_lines, "LONGEST_LINE", 1000)
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"line \d has more than 1,000 characters. Is it the file that you mean"):
        misread.load(tmp_path / name)


def test_a_cell_that_the_csv_reader_refuses_is_one_message(tmp_path: Path, cli: Callable[..., Result]) -> None:
    (tmp_path / "pixels.csv").write_text("1" * (csv.field_size_limit() + 1) + ",2\n")
    result = cli("data", "info", tmp_path / "pixels.csv")
    assert result.code == 2
    assert "cannot be read" in result.err


def test_a_patch_with_a_line_that_is_no_fix_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_patch, "LONGEST_LINE", 1000)
    (tmp_path / "fixes.jsonl").write_text("[" * 1001)
    with pytest.raises(DataError, match=r"line 1 of .*fixes.jsonl has 1,001 bytes, which is no fix"):
        read_patch(tmp_path / "fixes.jsonl")


def test_a_size_that_no_memory_holds_is_refused(tmp_path: Path, cli: Callable[..., Result]) -> None:
    for i, image in enumerate(blocks(4)[0].squeeze(-1)):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    result = cli("data", "info", tmp_path, "--size", "1000000")
    assert result.code == 2
    assert "One image of 1000000x1000000 needs 3.0 TB, but this machine has" in result.err


def test_a_table_for_a_spreadsheet_has_no_formulas_and_keeps_its_numbers(tmp_path: Path) -> None:
    import pandas as pd

    from misread.cli.output import write_table

    cells = {"label": ["=1+1", "+a", "-b", "@c", "\td", "plain", "日本"], "loss": [-1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]}
    write_table(tmp_path / "table.csv", pd.DataFrame(cells))
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'+a", "'-b", "'@c", "'\td", "plain", "日本"]
    assert [float(row[1]) for row in rows] == cells["loss"]


def test_a_file_of_another_kind_is_no_patch(tmp_path: Path) -> None:
    (tmp_path / "fixes.jsonl").write_bytes(b"\x80\x04\x95\n\x8c\x01a")
    with pytest.raises(DataError, match="is no label patch: its first line is no JSON object"):
        read_patch(tmp_path / "fixes.jsonl")
