"""The same images in every kind of shard have the same predictions."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import misread
from misread.data.idx import idx_bytes
from misread.errors import DataError
from misread.scale.shards import find_shards
from samples import blocks
from shard_jobs import BROKEN, IMAGES, rows_of, write_tar

Pictures = list[tuple[str, bytes, int]]
PREDICTED = ("prediction", "confidence", "margin", "label")


def predicted(out: Path, *, without: int | None = None) -> list[tuple[Any, ...]]:
    return [tuple(row[k] for k in PREDICTED) for i, row in enumerate(rows_of(out)) if i != without]


@pytest.fixture
def from_tars(predict: Callable[..., Any], tars: str) -> list[tuple[Any, ...]]:
    return predicted(predict(tars, out="tars")[1])


def parquet(path: Path, pictures: Pictures, **more: Any) -> str:
    images = [{"bytes": png, "path": f"{key}.png"} for key, png, _ in pictures]
    table = pa.table({"image": images, "label": [label for _, _, label in pictures]})
    pq.write_table(table.replace_schema_metadata(more.pop("metadata", None)), path, **more)
    return str(path)


def test_parquet(predict: Callable[..., Any], from_tars: Any, pictures: Pictures, tmp_path: Path) -> None:
    file = parquet(tmp_path / "a.parquet", pictures, row_group_size=7)
    _, out = predict(file)
    assert predicted(out) == from_tars
    assert [row["key"] for row in rows_of(out)] == [f"{key}.png" for key, _, _ in pictures]


def test_labels_of_a_hugging_face_parquet_are_named_by_its_metadata(
    predict: Callable[..., Any], pictures: Pictures, tmp_path: Path
) -> None:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["3", "2", "1", "0"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    _, out = predict(parquet(tmp_path / "a.parquet", pictures, metadata=metadata))
    assert [row["label"] for row in rows_of(out)] == [str(3 - label) for _, _, label in pictures]


def test_parquet_of_plain_bytes_with_a_null(predict: Callable[..., Any], pictures: Pictures, tmp_path: Path) -> None:
    pq.write_table(pa.table({"png": pa.array([pictures[0][1], None]), "key": ["a", "b"]}), tmp_path / "a.parquet")
    rows = rows_of(predict(str(tmp_path / "a.parquet"))[1])
    assert [(row["key"], row["label"], row["error"]) for row in rows] == [
        ("a", None, None),
        ("b", None, "Row 1 has no bytes of a picture."),
    ]


@pytest.mark.parametrize("kind", ["npy", "idx", "idx.gz"])
def test_rows_of_arrays(
    predict: Callable[..., Any], from_tars: Any, run: misread.Run, tmp_path: Path, kind: str
) -> None:
    images, labels = blocks(IMAGES, seed=2)
    if kind == "npy":
        names = ["images.npy", "labels.npy"]
        for name, array in zip(names, (images, labels), strict=True):
            np.save(tmp_path / name, array)
    else:
        gz = ".gz" if kind.endswith("gz") else ""
        names = [f"t10k-images-idx3-ubyte{gz}", f"t10k-labels-idx1-ubyte{gz}"]
        for name, array in zip(names, (images[..., 0], labels), strict=True):
            (tmp_path / name).write_bytes(gzip.compress(idx_bytes(array)) if gz else idx_bytes(array))
    state, out = predict(str(tmp_path / names[0]), size=25)
    assert state.done_shards == 3
    assert predicted(out, without=BROKEN) == [row for i, row in enumerate(from_tars) if i != BROKEN]
    rows, probs = rows_of(out), run.predict(images)
    assert [row["key"] for row in rows] == [str(i) for i in range(IMAGES)]
    assert rows[BROKEN]["confidence"] == pytest.approx(probs[BROKEN].max(), abs=1e-6)


def test_folders_and_lists(predict: Callable[..., Any], from_tars: Any, pictures: Pictures, tmp_path: Path) -> None:
    names = []
    for key, png, label in pictures:
        path = tmp_path / "pictures" / str(label) / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        names.append(f"{label}/{key}.png")
    order = np.argsort([*names], kind="stable")
    state, out = predict(str(tmp_path / "pictures"), size=25)
    assert state.done_shards == 3
    assert predicted(out) == [from_tars[i] for i in order]
    assert [row["key"] for row in rows_of(out)] == sorted(names)
    listed = tmp_path / "pictures" / "list.txt"
    listed.write_text("\n".join([*names, "", "0/missing.png"]))
    _, out = predict(str(listed), out="list")
    assert predicted(out)[:-1] == from_tars
    assert rows_of(out)[-1]["error"] == f"{tmp_path}/pictures/0/missing.png does not exist."


def test_urls(predict: Callable[..., Any], from_tars: Any, tars: str, pictures: Pictures, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    for number in range(4):
        memory.pipe(f"/shards/{number:02}.tar", Path(tars.replace("{00..03}", f"{number:02}")).read_bytes())
    memory.pipe("/a.parquet", Path(parquet(tmp_path / "a.parquet", pictures)).read_bytes())
    memory.pipe("/one.png", pictures[0][1])
    memory.pipe("/list.txt", b"memory://one.png\nmemory://none.png\n")
    assert predicted(predict("memory://shards/{00..03}.tar", out="u")[1]) == from_tars
    assert predicted(predict("memory://a.parquet", out="p")[1]) == from_tars
    rows = rows_of(predict("memory://list.txt", out="l")[1])
    assert rows[0]["prediction"] == from_tars[0][0]
    assert rows[1]["error"] == "memory://none.png does not exist."


def test_a_tar_file_has_a_row_for_every_sample(predict: Callable[..., Any], pictures: Pictures, tmp_path: Path) -> None:
    png = pictures[0][1]
    write_tar(tmp_path / "a.tar", [
        ("x/1.png", png), ("x/1.seg.png", png), ("x/1.cls", b"2"), ("x/1.json", b"{}"),
        ("x/2.txt", b"no picture"),
        ("y/2.PNG", png), ("y/2.cls", b"cat"),
        (".hidden.png", png), ("__meta__.json", b"{}"),
        ("caf\udce9.png", png),
    ])  # fmt: skip
    rows = rows_of(predict(str(tmp_path / "a.tar"))[1])
    assert [(row["key"], row["label"], row["error"]) for row in rows] == [
        ("x/1", "2", None),
        ("x/2", None, "x/2 has no picture."),
        ("y/2", "cat", None),
        ("caf\\xe9", None, None),
    ]


@pytest.mark.parametrize(
    ("name", "contents", "message"),
    [
        ("none.tar", None, "none.tar does not exist."),
        ("a.zip", b"x", "a.zip is no shard. Give a tar file"),
        ("a.txt", b"\xff\xfe", "a.txt is no list of files: it is not UTF-8 text."),
        ("a.txt", b"\n \n", "a.txt lists no files."),
        ("a.npy", b"x", "a.npy is damaged or not an .npy file"),
        ("images-idx3-ubyte", b"", "has the magic number 0x(none)"),
    ],
)
def test_what_is_no_shard_is_refused_before_the_job(
    tmp_path: Path, name: str, contents: bytes | None, message: str
) -> None:
    if contents is not None:
        (tmp_path / name).write_bytes(contents)
    with pytest.raises(DataError) as caught:
        find_shards([str(tmp_path / name)])
    assert message in str(caught.value)


def test_other_refusals(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, size, message in [
        ([str(tmp_path / "empty")], 10, "empty has no pictures"),
        ([], 10, "There are no shards."),
        (["x"], 0, "A shard of 0 images is not possible"),
        (["nowhere://x.tar"], 10, "nowhere://x.tar cannot be opened: "),
        (["memory://x.npy"], 10, "arrays are memory-mapped"),
    ]:
        with pytest.raises(DataError, match=message):
            find_shards(given, size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: np.save(path / "a.npy", np.zeros((3, 9, 9), np.uint8)), "the run was trained on (8, 8, 1)"),
        (lambda path: (path / "a.parquet").write_bytes(b"PAR1xxxxPAR1"), "a.parquet is damaged or no Parquet file"),
        (lambda path: pq.write_table(pa.table({"x": [1]}), path / "a.parquet"), "no column of pictures"),
        (
            lambda path: pq.write_table(pa.table({"x": [b"1"], "y": [b"1"]}), path / "a.parquet"),
            "several columns of pictures; its columns are x, y",
        ),
        (
            lambda path: [
                np.save(path / "images.npy", np.zeros((3, 8, 8), np.uint8)),
                np.save(path / "labels.npy", [1]),
            ],
            "labels.npy has the shape (1,), but",
        ),
    ],
)
def test_a_shard_that_cannot_be_read_fails(
    predict: Callable[..., Any], tmp_path: Path, make: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder)
    given = next(path for path in sorted(folder.iterdir()) if path.name != "labels.npy")
    state, _ = predict(str(given))
    assert message in next(iter(state.failed.values()))


def test_names_of_outputs_depend_on_the_arguments_alone(tmp_path: Path) -> None:
    for name in ("a b.tar.gz", "x.parquet"):
        (tmp_path / name).write_bytes(b"")
    np.save(tmp_path / "r.npy", np.zeros((5, 2, 2), np.uint8))
    given = [str(tmp_path / name) for name in ("a b.tar.gz", "x.parquet", "r.npy")]
    shards = find_shards(given, 2)
    assert [shard.name for shard in shards] == ["00000-a_b", "00001-x", "00002-r", "00003-r", "00004-r"]
    assert [(shard.start, shard.stop) for shard in shards[2:]] == [(0, 2), (2, 4), (4, 5)]
