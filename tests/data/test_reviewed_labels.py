import json
from pathlib import Path

import pytest

from misread.data.reviewed_labels import read_reviewed
from misread.errors import DataError

A, B = "a" * 64, "b" * 64


def written(text: str, name: str = "reviewed.csv") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_only_rows_with_a_decision_count(delimiter: str, start: str) -> None:
    lines = ["index,hash,label,suggested,new", f"0,{A},4,9,9", f"1,{B},1,7,"]
    path = written(start + "\n".join(lines).replace(",", delimiter) + "\n")
    assert read_reviewed(path) == {A: "9"}
    assert read_reviewed(path, accept=True) == {A: "9", B: "7"}


def test_a_decision_has_priority_over_the_suggestion() -> None:
    path = written(f"hash,suggested,new\n{A},9,7\n")
    assert read_reviewed(path, accept=True) == {A: "7"}


def test_json_from_the_command_line_is_read() -> None:
    path = written(json.dumps([{"hash": A, "suggested": "9"}, {"hash": B, "suggested": "7", "new": 1}]), "r.json")
    assert read_reviewed(path) == {B: "1"}
    assert read_reviewed(path, accept=True) == {A: "9", B: "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"hash,suggested\n{A},9\n", "None of the 1 rows of reviewed.csv gives a new label.*column 'new'.*--accept"),
        ("index,new\n3,9\n", "row 1 has no hash"),
        (f"hash,new\n{A},9\n{A},7\n", "row 2 labels an image '7', but another row labels it '9'"),
        ("[1, 2]", "it must be an array of objects with hash, new and suggested"),
        ("[{", "reviewed.csv is not JSON"),
        ("", "None of the 0 rows"),
    ],
)
def test_a_table_without_clear_decisions_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        read_reviewed(written(text))
    with pytest.raises(DataError, match="nowhere.csv cannot be read: No such file"):
        read_reviewed(Path("nowhere.csv"))
