"""Tables of picture files and labels: what Hugging Face's ImageFolder and people with a CSV have."""

import csv
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread.errors import DataError


def picture(path: Path, value: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    return path


def pictures(folder: Path, names: Sequence[str]) -> None:
    """A picture under each name; the k-th has the grey value k."""
    for k, name in enumerate(names):
        picture(folder / name, k)


def write_csv(path: Path, header: str, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return path


def write_jsonl(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


NAMES = [f"{k}.png" for k in range(8)]
LABELS = ["dog", "cat", "cat", "dog", "cat", "cat", "dog", "dog"]


def check(data: misread.ImageSet, names: Sequence[str] = NAMES, labels: Sequence[str] = LABELS) -> None:
    """The set has these files in this order, with these labels, and of each the pixels that it was saved with."""
    everything = data.split("all")
    assert everything.files == tuple(names)
    assert [data.class_names[k] for k in everything.labels] == list(labels)
    assert everything.images[:, 0, 0, 0].tolist() == list(range(len(names)))


@pytest.mark.parametrize("stem", ["metadata", "labels"])
def test_a_csv_in_the_folder_gives_the_labels_in_its_order(tmp_path: Path, stem: str) -> None:
    pictures(tmp_path, NAMES)
    table = write_csv(
        tmp_path / f"{stem}.csv",
        "file_name,text,label",
        *((n, "a, b", label) for n, label in zip(NAMES, LABELS, strict=True)),
    )
    for data in (misread.load(tmp_path), misread.load(table)):
        check(data)
        assert data.class_names == ("cat", "dog")
        assert data.name == tmp_path.name
        assert data.skipped == ()
        assert misread.load(data.source).fingerprint == data.fingerprint


def test_json_lines_are_read_and_numbers_are_classes_in_numeric_order(tmp_path: Path) -> None:
    pictures(tmp_path, NAMES)
    labels = [10, 9, 9, 10, 2, 2, 10, 9]
    rows = [{"file_name": n, "label": label, "objects": {"bbox": []}} for n, label in zip(NAMES, labels, strict=True)]
    data = misread.load(write_jsonl(tmp_path / "metadata.jsonl", *rows).parent)
    check(data, labels=[str(label) for label in labels])
    assert data.class_names == ("2", "9", "10")


def test_a_table_gives_the_same_set_as_class_folders(tmp_path: Path) -> None:
    in_order = sorted(zip(LABELS, range(8), strict=True))
    for position, (label, k) in enumerate(in_order):
        picture(tmp_path / "folders" / label / f"{position}.png", k)
        picture(tmp_path / "flat" / f"{position}.png", k)
    write_csv(
        tmp_path / "flat" / "metadata.csv",
        "file_name,label",
        *((f"{i}.png", label) for i, (label, _) in enumerate(in_order)),
    )
    assert misread.load(tmp_path / "flat").fingerprint == misread.load(tmp_path / "folders").fingerprint


@pytest.mark.parametrize(("table", "folder"), [("birds.csv", "birds"), ("labels.csv", "pictures"), ("a.jsonl", "x/y")])
def test_a_table_beside_the_folder_of_pictures(tmp_path: Path, table: str, folder: str) -> None:
    """Names relative to a folder called as the table, to the only folder there, or with their folder."""
    pictures(tmp_path / folder, NAMES)
    named = [f"{folder}/{n}" for n in NAMES] if "/" in folder else NAMES
    if table.endswith(".csv"):
        write_csv(tmp_path / table, "file_name,label", *zip(named, LABELS, strict=True))
    else:
        write_jsonl(
            tmp_path / table, *({"file_name": n, "label": label} for n, label in zip(named, LABELS, strict=True))
        )
    data = misread.load(tmp_path / table)
    check(data, [f"{folder}/{n}" for n in NAMES])
    assert data.name == (tmp_path.name if table == "labels.csv" else Path(table).stem)


SPLITS = ["train", "train", "train", "test", "test", "validation", "train", "val"]


@pytest.mark.parametrize("way", ["column", "folders", "tables"])
def test_several_splits_in_one_table_or_in_one_for_each(tmp_path: Path, way: str) -> None:
    rows = list(zip(NAMES, LABELS, ["train", "train", "train", "test", "test", "val", "train", "val"], strict=True))
    if way == "column":
        pictures(tmp_path, NAMES)
        write_csv(
            tmp_path / "metadata.csv",
            "split,file_name,label",
            *((s, n, label) for (n, label, _), s in zip(rows, SPLITS, strict=True)),
        )
    else:
        pictures(tmp_path, [f"{s}/{n}" for n, _, s in rows])
    if way == "folders":
        write_csv(tmp_path / "metadata.csv", "file_name,label", *((f"{s}/{n}", label) for n, label, s in rows))
    if way == "tables":
        for split in ("train", "val", "test"):
            of_split = [(n, label) for n, label, s in rows if s == split]
            write_csv(tmp_path / split / "metadata.csv", "file_name,label", *of_split)
    data = misread.load(tmp_path)
    assert not data.carved_test
    for name, split in data.splits.items():
        expected = [(n if way == "column" else f"{name}/{n}", label) for n, label, s in rows if s == name]
        assert split.files == tuple(n for n, _ in expected)
        assert [data.class_names[k] for k in split.labels] == [label for _, label in expected]
        assert split.images[:, 0, 0, 0].tolist() == [NAMES.index(n.split("/")[-1]) for n, _ in expected]


def test_names_and_labels_of_any_script(tmp_path: Path) -> None:
    """An accent apart from its letter (as macOS stores names) and joined with it (as people type) is one name."""
    names = ["고양이.png", "école.png", "कुत्ता.png", "قطة ۱.png", "猫🐈.png", "=1+1.png", "-x.png", " spaced .png"]
    assert unicodedata.normalize("NFD", names[1]) != names[1]
    pictures(tmp_path, [unicodedata.normalize("NFD", name) for name in names])
    labels = ["고양이", "می‌خواهم", "고양이", "می‌خواهم"] * 2
    write_csv(tmp_path / "metadata.csv", "file_name,label", *zip(names, labels, strict=True))
    data = misread.load(tmp_path)
    assert [unicodedata.normalize("NFC", f) for f in data.split("all").files or ()] == [
        unicodedata.normalize("NFC", n) for n in names
    ]
    assert set(data.class_names) == set(labels)


def test_backslashes_and_a_byte_order_mark_from_windows_are_accepted(tmp_path: Path) -> None:
    pictures(tmp_path, [f"a/{n}" for n in NAMES])
    table = write_csv(
        tmp_path / "metadata.csv",
        "File_Name,Label",
        *((f"a\\{n}", label) for n, label in zip(NAMES, LABELS, strict=True)),
    )
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    check(misread.load(tmp_path), [f"a/{n}" for n in NAMES])


def test_missing_files_are_reported_and_strict_refuses(tmp_path: Path) -> None:
    pictures(tmp_path, NAMES[:7])
    (tmp_path / "7.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    rows = [*zip(NAMES, LABELS, strict=True), ("gone.png", "dog"), ("pipe.png", "cat"), ("nul\0.png", "cat")]
    write_csv(tmp_path / "metadata.csv", "file_name,label", *rows)
    data = misread.load(tmp_path)
    check(data, NAMES[:7], LABELS[:7])
    assert [line.replace(str(tmp_path), "") for line in data.skipped] == [
        "/7.png is not a file (/metadata.csv, line 9).",
        "/gone.png does not exist (/metadata.csv, line 10).",
        "/pipe.png is not a file (/metadata.csv, line 11).",
        "/nul\0.png does not exist (/metadata.csv, line 12).",
    ]
    with pytest.raises(DataError, match=r"(?s)7.png is not a file.*gone.png does not exist.*Repair or remove"):
        misread.load(tmp_path, strict=True)


@pytest.mark.parametrize(
    "name", ["../out.png", "/{away}/out.png", "a/../../out.png", "link.png", "linked/out.png", "a\\..\\..\\out.png"]
)
def test_file_names_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    pictures(folder, [*NAMES, "a/0.png"])
    picture(tmp_path / "out.png", 0)
    (folder / "link.png").symlink_to(tmp_path / "out.png")
    (folder / "linked").symlink_to(tmp_path)
    rows = [*zip(NAMES, LABELS, strict=True), (name.format(away=tmp_path), "cat")]
    write_csv(folder / "metadata.csv", "file_name,label", *rows)
    with pytest.raises(
        DataError, match=r"metadata.csv, line 10: '.*(out|link).*' is outside .*data\. Move the picture"
    ):
        misread.load(folder)


def test_links_inside_the_folder_are_followed_and_circular_links_are_reported(tmp_path: Path) -> None:
    pictures(tmp_path / "real", NAMES)
    (tmp_path / "again").symlink_to("real")
    (tmp_path / "one.png").symlink_to("two.png")
    (tmp_path / "two.png").symlink_to("one.png")
    rows = [*((f"again/{n}", label) for n, label in zip(NAMES, LABELS, strict=True)), ("one.png", "cat")]
    write_csv(tmp_path / "metadata.csv", "file_name,label", *rows)
    data = misread.load(tmp_path)
    check(data, [f"again/{n}" for n in NAMES])
    assert "one.png does not exist" in data.skipped[0]


BAD: list[tuple[str, str]] = [
    ("file_name,label\n0.png,cat\n0.png,dog\n", r"line 3: 0.png is already in .*metadata.csv, line 2"),
    ("file_name,label\n0.png,cat\n./0.png,cat\n", r"line 3: ./0.png is already in"),
    ("file_name,label\n0.png,cat\n1.png,\n", r"line 3: the label of 1.png is missing"),
    ("file_name,label\n0.png,cat\n1.png\n", r"line 3: the label of 1.png is missing"),
    ("file_name,label\n0.png,cat\n,dog\n", r"line 3: the file name is missing"),
    ("file_name,label\n0.png,cat\n1.png,dog,x\n", r"line 3 has 3 cells, but the header has 2. Put"),
    ("file_name,label,split\n0.png,cat,train\n1.png,dog,dev\n", r"line 3: 'dev' is not a split. Use train, val or"),
    ("file_name,label,split\n0.png,cat,train\n1.png,dog,test\n", r"line 3: the label 'dog' of the test split does not"),
    ("file_name,label,split\n0.png,cat,test\n1.png,dog,test\n", r"line 2: the label 'cat' of the test split does not"),
    ("file_name,label\n0.png,cat\n1.png,cat\n", r"All train images \(2\) have one class, 'cat'"),
    ("file_name,label\nx.png,cat\ny.png,dog\n", r"there is no training image. .*x.png does not exist"),
    ("file_name,label\n0.png,cat\n1.png,cat\nx.png,dog\n", r"the class 'dog' has no readable images"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_errors_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    pictures(tmp_path, NAMES)
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        misread.load(tmp_path)


def test_files_that_are_not_tables_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path, NAMES)
    latin = tmp_path / "metadata.csv"
    latin.write_bytes("file_name,label\n0.png,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"metadata.csv cannot be read: .*Save it as UTF-8 text"):
        misread.load(tmp_path)
    latin.unlink()
    write_csv(tmp_path / "plain.csv", "0.png,cat", ("1.png", "dog"))
    with pytest.raises(DataError, match=r"plain.csv has no header line. Add .*: file_name,label"):
        misread.load(tmp_path / "plain.csv")
    write_csv(tmp_path / "captions.csv", "file_name,text", ("1.png", "a dog"))
    with pytest.raises(DataError, match=r"captions.csv has the columns file_name, text. It needs .* label with labels"):
        misread.load(tmp_path / "captions.csv")
    for line, message in (
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        ("[" * 99999, "not JSON"),
    ):
        (tmp_path / "x.jsonl").write_text('{"file_name": "0.png", "label": "a"}\n' + line)
        with pytest.raises(DataError, match=message):
            misread.load(tmp_path / "x.jsonl")
    for label in (None, True, 1.5, ["a"], "\ud800", "a\x1b[0m"):
        write_jsonl(tmp_path / "x.jsonl", {"file_name": "0.png", "label": label})
        with pytest.raises(DataError, match=r"line 1: the label of 0.png is missing, or it is neither"):
            misread.load(tmp_path / "x.jsonl")
    write_csv(tmp_path / "metadata.csv", "file_name,label", ("0.png", "a"))
    write_jsonl(tmp_path / "metadata.jsonl", {"file_name": "0.png", "label": "b"})
    with pytest.raises(DataError, match=r"has metadata.csv and metadata.jsonl. Keep one of them"):
        misread.load(tmp_path)


def test_class_folders_are_used_if_a_table_has_no_labels(tmp_path: Path) -> None:
    for k, label in enumerate(("cat", "dog")):
        pictures(tmp_path / label, [f"{k}{i}.png" for i in range(3)])
    write_csv(tmp_path / "metadata.csv", "file_name,text", ("cat/00.png", "a cat"))
    write_csv(tmp_path / "labels.csv", "number,label", (0, "cat"), (1, "dog"))
    assert misread.load(tmp_path).class_names == ("cat", "dog")


def test_a_csv_of_pixels_is_not_a_file_table(tmp_path: Path) -> None:
    write_csv(tmp_path / "id.csv", "id,a,b,c,d", *((k % 2, k, k, k, k) for k in range(8)))
    assert misread.load(tmp_path / "id.csv").image_shape == (2, 2, 1)
