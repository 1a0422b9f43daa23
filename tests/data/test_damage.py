"""Flipped bits and truncation in label patches and in every file of the cache: noticed, and never taken for whole."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import misread
from misread import ImageSet
from misread.data.download import cache_folder
from misread.data.feature_store import FEATURES, NAME, FeatureStore
from misread.data.image_hash import image_hashes
from misread.data.label_patch import add_fixes, read_patch
from misread.errors import DataError
from samples import blocks
from shard_jobs import write_tar


def damaged(path: Path, places: int = 8) -> Iterator[str]:
    """Damages a file in one way after another; what was done."""
    before = path.read_bytes()
    for place in np.linspace(0, len(before) - 1, places).astype(int):
        for bit in (1, 4, 32, 128):
            path.write_bytes(before[:place] + bytes([before[place] ^ bit]) + before[place + 1 :])
            yield f"bit {bit} of byte {place} of {path.name}"
    for length in (0, 1, len(before) // 2, len(before) - 1):
        path.write_bytes(before[:length])
        yield f"{path.name} cut to {length} bytes"
    path.write_bytes(before)


def test_damage_to_any_byte_of_a_label_patch_is_noticed(tmp_path: Path) -> None:
    data = ImageSet.from_arrays(*blocks(40), test=blocks(12, seed=1), name="signs")
    path = tmp_path / "fixes.jsonl"
    hashes = image_hashes(data.train.images)
    add_fixes(path, data, {hashes[4]: "1"}, note="looked at each")
    add_fixes(path, data, {hashes[5]: "2"}, by="someone else")
    intact = read_patch(path).lines
    for what in damaged(path, places=80):
        assert noticed(path) or read_patch(path).lines == intact, what


def noticed(path: Path) -> bool:
    """Whether a patch is refused as damaged, or said to be empty or to have an incomplete line."""
    try:
        return bool(read_patch(path).cut_off)
    except DataError:
        return True


def test_a_line_that_a_person_writes_needs_no_check(tmp_path: Path) -> None:
    path = tmp_path / "fixes.jsonl"
    path.write_text(f'{{"image": "{"a" * 64}", "old": "1", "new": "7"}}\n')
    (line,) = read_patch(path).lines
    assert (line.old, line.new) == ("1", "7")


def test_a_changed_line_says_what_to_do(tmp_path: Path) -> None:
    data = ImageSet.from_arrays(*blocks(40), test=blocks(12, seed=1), name="signs")
    path = tmp_path / "fixes.jsonl"
    add_fixes(path, data, {image_hashes(data.train.images)[4]: "1"})
    path.write_text(path.read_text().replace('"new": "1"', '"new": "3"'))
    with pytest.raises(DataError, match=r"line 1 of .*fixes.jsonl is damaged: .*\n.* remove its check"):
        read_patch(path)


def test_damage_to_any_file_of_decoded_pictures_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for i, image in enumerate(blocks(8)[0].squeeze(-1)):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "ab"[i % 2] / f"{i}.png")
    for path in folder.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    expected = misread.load(folder, progress=None).fingerprint
    (entry,) = (cache_folder() / "folders").iterdir()
    for name in sorted(path.name for path in entry.iterdir()):
        for what in damaged(entry / name):
            assert misread.load(folder, progress=None).fingerprint == expected, what


def test_damage_to_what_the_cache_says_of_shards_is_noticed(tmp_path: Path) -> None:
    """It has the names of the classes, and how many pictures are of each split."""
    for name, first in (("train", 0), ("test", 4)):
        images, files = blocks(8)[0].squeeze(-1), []
        for i in range(first, first + 4):
            file = io.BytesIO()
            Image.fromarray(images[i]).save(file, "png")
            files += [(f"{i}.png", file.getvalue()), (f"{i}.cls", ("bird", "cat")[i % 2].encode())]
        write_tar(tmp_path / f"{name}.tar", files)
        os.utime(tmp_path / f"{name}.tar", (1e9, 1e9))
    whole = misread.load(tmp_path, progress=None)
    assert (whole.class_names, len(whole.train), len(whole.test)) == (("bird", "cat"), 4, 4)
    (entry,) = (cache_folder() / "folders").iterdir()
    for what in damaged(entry / "record.json", places=24):
        found = misread.load(tmp_path, progress=None)
        assert (found.fingerprint, found.class_names) == (whole.fingerprint, whole.class_names), what
        assert [len(split) for split in found.splits.values()] == [4, 4], what


def test_damage_to_features_is_noticed() -> None:
    images = blocks(40)[0]
    expected = images.reshape(len(images), -1).astype(np.float32)
    FeatureStore("net", "0" * 64).features(images, lambda part: part.reshape(len(part), -1).astype(np.float32))
    (folder,) = (cache_folder() / FEATURES).iterdir()
    (path,) = folder.glob("*.safetensors")
    assert {p.name for p in folder.iterdir()} == {path.name, NAME}
    computed: list[int] = []

    def compute(part: np.ndarray) -> np.ndarray:
        computed.append(len(part))
        return part.reshape(len(part), -1).astype(np.float32)

    for what in damaged(path, places=40):
        computed.clear()
        contents = path.read_bytes()
        assert np.array_equal(FeatureStore("net", "0" * 64).features(images, compute), expected), what
        path.write_bytes(contents)  # as damaged, before the store wrote it again
