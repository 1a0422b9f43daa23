"""Images in tar and Parquet files are those of class folders with the same pictures, decoded once."""

import errno
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import misread
from misread.data import listing, shard_cache
from misread.data.cache import cache_entries
from misread.data.image_set import ImageSet
from misread.data.mapped_images import MappedImages
from misread.errors import DataError, RunError
from samples import Result, blocks
from shard_jobs import write_tar

LONG_AGO = 1_500_000_000
LAYERS = 'layers=[{type="Flatten"}, {type="Dense", units="classes", activation="softmax"}]'

Samples = list[tuple[str, bytes, str]]  # key, PNG, label


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "png")
    return file.getvalue()


def samples(n: int = 40, seed: int = 0, names: Sequence[str] = ("0", "1", "2", "3")) -> Samples:
    images, labels = blocks(n, seed=seed)
    pairs = zip(images, labels, strict=True)
    return [(f"{i:04}", png(image), names[label]) for i, (image, label) in enumerate(pairs)]


def settle(path: Path) -> str:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return str(path)


def tar(path: Path, made: Samples) -> str:
    path.parent.mkdir(exist_ok=True)
    files = [
        (f"{key}.{end}", data) for key, image, text in made for end, data in (("png", image), ("cls", text.encode()))
    ]
    write_tar(path, files)
    return settle(path)


def parquet(path: Path, made: Samples, names: Sequence[str] = (), **settings: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    labels: list[Any] = [names.index(text) if names else text for _, _, text in made]
    table = pa.table({"image": [{"bytes": image, "path": key} for key, image, _ in made], "label": labels})
    features = {"label": {"_type": "ClassLabel", "names": list(names)}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    pq.write_table(table.replace_schema_metadata(metadata), path, **settings)
    return settle(path)


def class_folders(root: Path, made: Samples) -> Path:
    for key, image, text in made:
        (root / text).mkdir(parents=True, exist_ok=True)
        (root / text / f"{key}.png").write_bytes(image)
    return root


def in_classes(data: ImageSet) -> dict[str, list[bytes]]:
    """The images of each class in their order, which is the same in class folders and in shards."""
    whole = data.split("all")
    return {
        name: [np.asarray(whole.images[i]).tobytes() for i in np.flatnonzero(whole.labels == k)]
        for k, name in enumerate(data.class_names)
    }


@pytest.fixture
def made() -> Samples:
    return samples()


@pytest.fixture
def pattern(tmp_path: Path, made: Samples) -> str:
    """A pattern of four tar files."""
    for number in range(4):
        tar(tmp_path / "set" / f"{number:02}.tar", made[number * 10 : number * 10 + 10])
    return f"{tmp_path}/set/{{00..03}}.tar"


@pytest.fixture
def undecodable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, decoding a shard fails the test."""

    def decoded(*args: object, **more: object) -> None:
        raise AssertionError("a shard was decoded")

    return lambda: monkeypatch.setattr(shard_cache, "decode_shard", decoded)


@pytest.mark.parametrize("kind", ["tar", "parquet", "folder of tars", "one tar.gz"])
def test_shards_have_the_images_of_class_folders(kind: str, tmp_path: Path, made: Samples, pattern: str) -> None:
    if kind == "parquet":
        given = parquet(tmp_path / "a.parquet", made, row_group_size=7)
    elif kind == "one tar.gz":
        import gzip

        whole = Path(tar(tmp_path / "whole.tar", made)).read_bytes()
        (tmp_path / "whole.tar.gz").write_bytes(gzip.compress(whole))
        given = settle(tmp_path / "whole.tar.gz")
    else:
        given = pattern if kind == "tar" else str(tmp_path / "set")
    data, expected = misread.load(given), misread.load(class_folders(tmp_path / "classes", made))
    assert data.class_names == expected.class_names == ("0", "1", "2", "3")
    assert in_classes(data) == in_classes(expected)
    assert (data.carved_test, data.skipped, len(data.train), len(data.test)) == (True, (), 32, 8)
    assert data.source == str(Path(given).resolve())
    assert {file.rpartition("/")[2] for file in data.split("all").files or ()} == {key for key, _, _ in made}


@pytest.mark.parametrize("apart", [True, False])
def test_shards_are_decoded_in_order_by_processes_and_in_this_one(
    apart: bool, pattern: str, made: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_cache, "PROCESSES_FROM_BYTES", 0 if apart else 2**60)
    whole = misread.load(pattern).split("all")
    assert [str(label) for label in whole.labels] == [text for _, _, text in made]
    assert [png(image) for image in np.asarray(whole.images)] == [image for _, image, _ in made]
    assert whole.files == tuple(f"{i // 10:02}.tar/{key}" for i, (key, _, _) in enumerate(made))


def test_more_pictures_than_names_are_kept_have_none(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "MOST_NAMES", 39)
    assert misread.load(pattern).train.files is None
    assert misread.load(pattern).test.files is None


def test_shards_are_decoded_once_and_again_after_a_change(
    pattern: str, made: Samples, undecodable: Callable[[], None]
) -> None:
    before = misread.load(pattern)
    third = Path(pattern.replace("{00..03}", "02"))
    tar(third, [(key, image, "3" if text == "2" else text) for key, image, text in made[20:30]])
    os.utime(third, (LONG_AGO + 1, LONG_AGO + 1))
    after = misread.load(pattern)
    assert (after.split("all").labels != before.split("all").labels).sum() == 2
    assert after.fingerprint != before.fingerprint
    undecodable()
    assert misread.load(pattern).fingerprint == after.fingerprint
    with pytest.raises(AssertionError):
        misread.load(pattern.replace("00..03", "00..02"))


def test_a_set_larger_than_an_array_may_be_stays_in_the_file(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = misread.load(pattern)
    monkeypatch.setattr(listing, "ARRAY_BYTES", 0)
    monkeypatch.setattr("misread.data.shard_set.ARRAY_BYTES", 0)
    mapped = misread.load(pattern)
    assert isinstance(mapped.train.images, MappedImages)
    assert mapped.fingerprint == plain.fingerprint


def test_splits_are_those_that_the_shards_are_named_for(tmp_path: Path, made: Samples) -> None:
    parquet(tmp_path / "hf" / "test-00000-of-00001.parquet", made[:8])
    parquet(tmp_path / "hf" / "train-00000-of-00002.parquet", made[8:20])
    parquet(tmp_path / "hf" / "train-00001-of-00002.parquet", made[20:32])
    parquet(tmp_path / "hf" / "validation-00000-of-00001.parquet", made[32:])
    data = misread.load(tmp_path / "hf")
    assert not data.carved_test
    for split, part in (("train", made[8:32]), ("val", made[32:]), ("test", made[:8])):
        assert [png(image) for image in np.asarray(data.split(split).images)] == [image for _, image, _ in part]
        assert [str(label) for label in data.split(split).labels] == [text for _, _, text in part]
    for split, part in (("train", made[:24]), ("test", made[24:])):
        tar(tmp_path / split / "0.tar", part)
    by_folder = misread.load(f"{tmp_path}/{{test,train}}/0.tar")
    assert [len(split) for split in by_folder.splits.values()] == [24, 16]
    assert (by_folder.test.files or ("",))[0] == "test/0.tar/0024"
    assert misread.load(f"{tmp_path}/train/0.tar").carved_test


def test_the_metadata_of_hugging_face_orders_the_classes(tmp_path: Path) -> None:
    names = ("zebra", "ant", "none of this", "cow", "bee")
    made = samples(names=("ant", "bee", "cow", "zebra"))
    data = misread.load(parquet(tmp_path / "a.parquet", made, names))
    assert data.class_names == ("zebra", "ant", "cow", "bee")
    assert [data.class_names[k] for k in data.split("all").labels] == [text for _, _, text in made]


def test_what_cannot_be_used_is_left_out_and_reported(tmp_path: Path, made: Samples) -> None:
    made[3] = (made[3][0], b"no picture", "3")
    made[5] = (made[5][0], made[5][1], "two\nlines")
    path = tar(tmp_path / "a.tar", made)
    data = misread.load(path)
    assert len(data.split("all")) == 38
    assert data.skipped == (
        f"{path}, 0003: 0003.png is not a readable image.",
        f"{path}, 0005: The label is not one line of text: 'two\\nlines'.",
    )
    assert misread.load(path).skipped == data.skipped  # also from the cache
    with pytest.raises(DataError, match=r"0003\.png is not a readable image.*\n.*\nRepair or remove these pictures"):
        misread.load(path, strict=True)


def test_grey_pictures_before_one_with_colour_become_rgb(tmp_path: Path, made: Samples) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    tar(tmp_path / "set" / "0.tar", made[:20])
    tar(tmp_path / "set" / "1.tar", [*made[20:39], ("last", png(colour), "3")])
    whole = misread.load(tmp_path / "set").split("all")
    assert whole.images.shape == (40, 8, 8, 3)
    np.testing.assert_array_equal(whole.images[39], colour)
    assert png(whole.images[0][..., :1]) == made[0][1]
    assert (np.ptp(np.asarray(whole.images[:39]), axis=-1) == 0).all()


def test_pictures_that_differ_in_size_need_one(tmp_path: Path, made: Samples) -> None:
    other = (np.zeros((6, 8), np.uint8), np.zeros((12, 16), np.uint8))
    tar(tmp_path / "set" / "0.tar", made[:20])
    tar(tmp_path / "set" / "1.tar", [("wide", png(other[0]), "1")])
    with pytest.raises(DataError, match=r"0000 in .*0\.tar is 8x8, wide in .*1\.tar is 6x8.*\n.*--size 6x8"):
        misread.load(tmp_path / "set")
    tar(tmp_path / "set" / "1.tar", [*made[20:], ("large", png(other[1]), "1")])
    with pytest.raises(DataError, match=r"0020 is 8x8, large is 12x16"):
        misread.load(tmp_path / "set")
    assert misread.load(tmp_path / "set", size=6).image_shape == (6, 6, 1)


def test_a_label_that_train_does_not_have_is_named(tmp_path: Path, made: Samples) -> None:
    tar(tmp_path / "set" / "train.tar", made[:20])
    tar(tmp_path / "set" / "test.tar", [*made[20:], ("odd", made[0][1], "7")])
    with pytest.raises(DataError, match="the label '7' of the test split does not occur in the train split"):
        misread.load(tmp_path / "set")


def test_more_labels_than_classes_can_be_are_refused(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "MOST_CLASSES", 3)
    with pytest.raises(DataError, match=r"more than 3 different labels; the last is '3'\. A label must be"):
        misread.load(pattern)


def test_a_damaged_shard_is_an_error_and_leaves_nothing(pattern: str, tmp_path: Path) -> None:
    path = Path(pattern.replace("{00..03}", "03"))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"03\.tar is damaged: .* Make it again"):
        misread.load(pattern)
    with pytest.raises(DataError, match=r"04\.tar does not exist"):
        misread.load(pattern.replace("03", "04"))
    (tmp_path / "no.parquet").write_bytes(b"PAR1 no, it is not")
    with pytest.raises(DataError, match="no.parquet is damaged or no Parquet file"):
        misread.load(tmp_path / "no.parquet")
    tar(tmp_path / "empty.tar", [])
    with pytest.raises(DataError, match="has no training image that can be used"):
        misread.load(tmp_path / "empty.tar")
    assert not list(Path(os.environ["MISREAD_CACHE"]).rglob("*-0.pixels"))


def test_a_full_disk_is_an_error_that_says_so(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("misread.data.pixels_file.PixelWriter.append", full)
    with pytest.raises(DataError, match=r"cannot be decoded into the cache .*: No space left on device\.\nFree some"):
        misread.load(pattern)
    assert not list(Path(os.environ["MISREAD_CACHE"]).rglob("*.pixels"))


def test_an_archive_beside_class_folders_is_no_shard(tmp_path: Path, made: Samples) -> None:
    folder = class_folders(tmp_path / "classes", made)
    tar(folder / "download.tar", made[:4])
    assert len(misread.load(folder).split("all")) == 40


def test_shards_behind_a_url(made: Samples, tmp_path: Path, undecodable: Callable[[], None]) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/0.tar", Path(tar(tmp_path / "0.tar", made)).read_bytes())
    data = misread.load("memory://bucket/{0..0}.tar")
    assert (len(data.split("all")), data.source) == (40, "memory://bucket/{0..0}.tar")
    undecodable()
    assert misread.load("memory://bucket/{0..0}.tar").fingerprint == data.fingerprint


def test_the_cache_lists_shards(pattern: str, cli: Callable[..., Result]) -> None:
    misread.load(pattern)
    (entry,) = cache_entries()
    assert (entry.kind, entry.what, entry.images, entry.orphaned) == ("decoded", pattern, 40, False)
    assert cli("data", "cache", pattern, "--clear").code == 0
    assert cache_entries() == []
    misread.load(pattern)
    Path(pattern.replace("{00..03}", "00")).unlink()
    assert cache_entries()[0].orphaned


def test_a_run_on_shards_is_made_by_one_command_and_refuses_changed_ones(
    pattern: str, made: Samples, cli: Callable[..., Result]
) -> None:
    done = cli("train", pattern, "--recipe", "tutorial-mlp", "--set", LAYERS, "--epochs", 2, "--json")
    run = json.loads(done.out)
    assert (done.code, run["data"]["n_train"], run["data"]["source"]) == (0, 32, pattern)
    assert cli("evaluate", run["folder"], "--split", "all").code == 0
    assert cli("reproduce", run["folder"]).code == 0

    class Stops(misread.Callback):
        def on_epoch_end(self, event: Any) -> None:
            event.state.stop("interrupted")

    stopped = misread.train(pattern, "tutorial-mlp", settings=[LAYERS], epochs=2, callbacks=[Stops()], progress=False)
    path = Path(pattern.replace("{00..03}", "01"))
    whole = path.read_bytes()
    tar(path, [*made[10:19], ("new", made[0][1], "1")])
    with pytest.raises(RunError, match="The data has changed since the training"):
        misread.resume(stopped.folder, progress=False)
    path.write_bytes(whole)
    resumed = misread.resume(stopped.folder, progress=False)
    assert resumed.record.metrics["test"] == run["metrics"]["test"]
