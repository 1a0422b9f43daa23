"""Patches: what they say of data, and that no line is ever lost, whoever writes and however a write ends."""

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from misread import ImageSet
from misread.data.image_hash import image_hash, image_hashes
from misread.data.label_patch import Fix, LabelPatch, add_fixes, merge_patches, read_patch, revert_fixes, write_patch
from misread.errors import DataError
from samples import blocks

NAMES = ("up", "down", "left", "right")


@pytest.fixture
def data() -> ImageSet:
    return ImageSet.from_arrays(*blocks(40), test=blocks(12, seed=1), class_names=NAMES, name="signs")


@pytest.fixture
def hashes(data: ImageSet) -> list[str]:
    return image_hashes(data.train.images)


def patch(path: Path, *lines: dict[str, str] | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_fix_is_one_json_line_with_who_when_old_new_and_note(data: ImageSet, hashes: list[str]) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    added = add_fixes("fixes.jsonl", data, {hashes[4]: "left"}, by="Ada", note="tilted, not up: 左")
    (line,) = Path("fixes.jsonl").read_text(encoding="utf-8").splitlines()
    said = json.loads(line)
    assert list(said) == ["image", "old", "new", "by", "at", "note", "check"]
    assert len(said.pop("check")) == 8
    assert before <= datetime.fromisoformat(said.pop("at")) <= datetime.now(UTC)
    assert said == {"image": hashes[4], "old": "up", "new": "left", "by": "Ada", "note": "tilted, not up: 左"}
    assert "左" in line
    assert read_patch("fixes.jsonl").lines == tuple(added)


def test_a_patch_changes_labels_in_a_copy_and_never_the_data(data: ImageSet, hashes: list[str]) -> None:
    labels, fingerprint = data.train.labels.copy(), data.fingerprint
    test_image = image_hash(data.test.images[3])
    add_fixes("fixes.jsonl", data, {hashes[0]: "down", hashes[5]: "up", test_image: "left"})
    fixed = read_patch("fixes.jsonl").fix(data)
    assert np.flatnonzero(fixed.data.train.labels != labels).tolist() == [0, 5]
    assert fixed.data.train.labels[[0, 5]].tolist() == [1, 0]
    assert fixed.data.test.labels[3] == 2
    assert (fixed.found, fixed.changed, fixed.copies, fixed.unexpected) == (3, {"train": 2, "test": 1}, 0, 0)
    assert fixed.messages() == [
        "Labels fixed by fixes.jsonl: 2 of train, 1 of test; 3 of its 3 fixes are for images of signs."
    ]
    np.testing.assert_array_equal(data.train.labels, labels)
    assert ImageSet.from_arrays(*blocks(40), test=blocks(12, seed=1), class_names=NAMES).fingerprint == fingerprint
    assert fixed.data.fingerprint != fingerprint


def test_a_fix_applies_to_every_copy_of_the_image_and_the_message_counts_them(
    data: ImageSet, hashes: list[str]
) -> None:
    images = np.concatenate([data.train.images, data.train.images[[7, 7]]])
    labels = np.concatenate([data.train.labels, data.train.labels[[7]], [0]])  # the second copy is labelled otherwise
    copied = ImageSet.from_arrays(images, labels, test=(data.train.images[7:8], [3]), class_names=NAMES, name="signs")
    add_fixes("fixes.jsonl", copied, {hashes[7]: "left"})
    fixed = read_patch("fixes.jsonl").fix(copied)
    assert fixed.data.train.labels[[7, 40, 41]].tolist() == [2, 2, 2]
    assert fixed.data.test.labels.tolist() == [2]
    assert (fixed.found, fixed.copies, fixed.unexpected) == (1, 3, 1)
    assert fixed.messages()[1:] == [
        "These images have 3 exact copies; the fixes apply to these too.",
        "Note: 1 image had a label that was neither the old nor the new one of the fix. It was fixed anyway.",
    ]


def test_copies_with_different_labels_can_be_fixed_to_either(data: ImageSet, hashes: list[str]) -> None:
    both = ImageSet.from_arrays(data.train.images[[7, 7, 1]], [3, 0, 1], test=blocks(4), class_names=NAMES)
    for number, new in enumerate(("right", "up")):
        add_fixes(f"{number}.jsonl", both, {hashes[7]: new})
        assert len(set(read_patch(f"{number}.jsonl").fix(both).data.train.labels[:2])) == 1


def test_the_last_line_counts_and_reverting_restores_the_label(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0]: "down", hashes[1]: "left"})
    add_fixes("p", data, {hashes[0]: "left"})
    assert [(f.old, f.new) for f in read_patch("p").lines] == [("up", "down"), ("down", "left"), ("down", "left")]
    assert read_patch("p").fixes[hashes[0]].old == "up"
    assert read_patch("p").fix(data).data.train.labels[:2].tolist() == [2, 2]
    (line,) = revert_fixes("p", [hashes[0]], by="Bob", note="it was right")
    assert (line.old, line.new, line.by, line.note) == ("left", "up", "Bob", "it was right")
    assert set(read_patch("p").fixes) == {hashes[1]}
    assert len(read_patch("p").lines) == 4
    assert read_patch("p").fix(data).data.train.labels[:2].tolist() == [0, 2]
    add_fixes("p", data, {hashes[0]: "right"})
    assert read_patch("p").fixes[hashes[0]].new == "right"


def test_an_image_that_already_has_the_label_gets_no_line(data: ImageSet, hashes: list[str]) -> None:
    assert add_fixes("p", data, {hashes[0]: "up"}) == []
    assert len(add_fixes("p", data, {hashes[0]: "down"})) == 1
    assert add_fixes("p", data, {hashes[0]: "down"}) == []
    assert len(Path("p").read_text().splitlines()) == 1


def test_hashes_may_be_abbreviated_if_unique(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0][:10]: "down"})
    assert set(read_patch("p").fixes) == {hashes[0]}
    revert_fixes("p", [hashes[0][:10]])
    assert read_patch("p").fixes == {}


def test_impossible_fixes_are_all_named_and_nothing_is_added(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[9]: "left"})
    before = Path("p").read_bytes()
    with pytest.raises(DataError) as caught:
        add_fixes("p", data, {hashes[0]: "down", "f" * 64: "up", "": "up", hashes[1]: "lefft"})
    assert str(caught.value).splitlines() == [
        "Nothing was added to p. These fixes for signs (classes up, down, left, right) are not possible:",
        "  ffffffffffff is the hash of no image",
        "   is the hash of no image",
        f"  {hashes[1][:12]}: 'lefft' is not a class. Did you mean 'left'?",
    ]
    start = next(c for c in "0123456789abcdef" if sum(h.startswith(c) for h in hashes) > 1)
    with pytest.raises(DataError, match=f"{start} is the hash of [0-9]+ images"):
        add_fixes("p", data, {start: "up"})
    with pytest.raises(
        DataError, match=rf"p does not have exactly one fix for {hashes[0][:12]} \(no active fix\). Nothing was"
    ):
        revert_fixes("p", [hashes[9], hashes[0]])
    with pytest.raises(DataError, match="There is no patch nowhere"):
        revert_fixes("nowhere", [hashes[0]])
    assert Path("p").read_bytes() == before


# a patch and data that are not each other's


def test_a_patch_for_other_data_is_refused(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0]: "down", hashes[4]: "down"})
    other = ImageSet.from_arrays(*blocks(40, seed=5), test=blocks(12, seed=6), class_names=NAMES, name="others")
    with pytest.raises(DataError, match="None of the 2 fixes in p is for an image of others.\n.*other data, or for"):
        read_patch("p").fix(other)


def test_a_patch_that_fits_in_part_counts_its_fixes(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0]: "down", hashes[39]: "down"})
    part = ImageSet.from_arrays(*blocks(40)[:1], blocks(40)[1], test=blocks(12), class_names=NAMES)
    half = ImageSet.from_arrays(part.train.images[:20], part.train.labels[:20], test=blocks(4, seed=2),
                                class_names=NAMES, name="half")  # fmt: skip
    fixed = read_patch("p").fix(half)
    assert (fixed.found, fixed.changed) == (1, {"train": 1, "test": 0})
    assert fixed.messages() == ["Labels fixed by p: 1 of train; 1 of its 2 fixes is for images of half."]


def test_classes_unknown_to_the_data_are_refused(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0]: "down"})
    renamed = ImageSet.from_arrays(*blocks(40), test=blocks(12), class_names=("up", "Down", "left", "right"), name="x")
    with pytest.raises(DataError, match="p has fixes to 'down', not a class of x. Did you mean 'Down'"):
        read_patch("p").fix(renamed)


def test_a_patch_without_fixes_changes_nothing(data: ImageSet, hashes: list[str]) -> None:
    add_fixes("p", data, {hashes[0]: "down"})
    revert_fixes("p", [hashes[0]])
    fixed = read_patch("p").fix(data)
    assert fixed.data.fingerprint == data.fingerprint
    assert fixed.messages() == ["Labels fixed by p: none; 0 of its 0 fixes are for images of signs."]


# writes that end half-way


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_truncated_file_keeps_every_complete_line_and_can_be_appended_to(
    data: ImageSet, hashes: list[str], draw: st.DataObject
) -> None:
    path = Path("cut.jsonl")
    path.unlink(missing_ok=True)
    added = add_fixes(path, data, {hashes[i]: "left" for i in (0, 1, 3)}, note="gekürzt — 短")
    whole = path.read_bytes()
    at = draw.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:at])
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    kept = sum(at >= end - 1 for end in ends)  # whole without its line end, too
    read = read_patch(path)
    assert read.lines == tuple(added[:kept])
    half = at not in (0, *ends, *(e - 1 for e in ends))
    assert len(read.cut_off) == (half or at == 0)
    if half:
        assert read.cut_off[0].startswith(f"Note: line {kept + 1} of cut.jsonl is incomplete and ignored")
    (new,) = add_fixes(path, data, {hashes[5]: "up"})
    again = read_patch(path)
    assert again.lines == (*added[:kept], new)
    assert again.cut_off == (read.cut_off if half else ())
    assert path.read_bytes().startswith(whole[:at])  # nothing that was there is touched


def test_an_incomplete_write_on_a_full_disk_is_undone(
    data: ImageSet, hashes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fixes("p", data, {hashes[0]: "down"})
    before, open_file = Path("p").read_bytes(), Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *error: Any) -> None:
            self.file.close()

        def write(self, text: bytes) -> int:
            return self.file.write(text[: len(text) // 2])

    monkeypatch.setattr(Path, "open", lambda *a, **k: Full(open_file(*a, **k)))
    with pytest.raises(DataError, match=f"The patch p cannot be written: {os.strerror(errno.ENOSPC)}"):
        add_fixes("p", data, {hashes[1]: "left"})
    assert Path("p").read_bytes() == before


def _add_many(number: int, start: Any) -> None:
    data = ImageSet.from_arrays(*blocks(40), test=blocks(12, seed=1), class_names=NAMES)
    hashes = image_hashes(data.train.images)
    start.wait()
    for i in range(number, 40, 4):
        add_fixes("shared.jsonl", data, {hashes[i]: NAMES[(i + 1) % 4]}, by=f"writer {number}", note="x" * 3000)


def test_concurrent_writers_lose_no_line(data: ImageSet, hashes: list[str]) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    writers = [context.Process(target=_add_many, args=(n, start)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    read = read_patch("shared.jsonl")
    assert read.cut_off == ()
    assert sorted(f.image for f in read.lines) == sorted(hashes)
    assert {f.by for f in read.lines} == {f"writer {n}" for n in range(4)}


# merging


def line(image: int, old: str, new: str, by: str = "a", at: str = "") -> Fix:
    return Fix(f"{image:064x}", old, new, by, at)


def as_patch(where: str, *lines: Fix) -> LabelPatch:
    return LabelPatch(lines, (), b"", where)


def test_merging_keeps_every_line_once() -> None:
    shared, one, two = line(1, "4", "9"), line(2, "1", "7"), line(3, "0", "6")
    merged, conflicts = merge_patches([as_patch("a", shared, one), as_patch("b", shared, two)])
    assert (merged, conflicts) == ((shared, one, two), ())


def test_a_continuation_is_not_a_conflict_in_either_order() -> None:
    first, undone = line(1, "4", "9"), line(1, "9", "4", at="later")
    for patches in ([[first], [first, undone]], [[first, undone], [first]]):
        merged, conflicts = merge_patches([as_patch(str(i), *p) for i, p in enumerate(patches)])
        assert (merged, conflicts) == ((first, undone), ())


def test_different_histories_with_the_same_label_agree() -> None:
    direct, detour = line(1, "4", "9", "a"), [line(1, "4", "7", "b"), line(1, "7", "9", "b")]
    merged, conflicts = merge_patches([as_patch("a", direct), as_patch("b", *detour)])
    assert conflicts == ()
    assert set(merged) == {direct, *detour}
    assert as_patch("", *merged).fixes[direct.image].new == "9"


def test_different_labels_for_one_image_are_a_conflict_that_names_both() -> None:
    mine, other, theirs = line(1, "4", "9", "Ada"), line(2, "1", "7"), line(1, "4", "7", "Bob")
    _, conflicts = merge_patches([as_patch("a", mine, other), as_patch("b", theirs)])
    (conflict,) = conflicts
    assert (conflict.image, conflict.fixes) == (mine.image, (("a", mine), ("b", theirs)))
    _, conflicts = merge_patches([as_patch("a", mine, theirs), as_patch("b", mine, line(1, "9", "4", at="later"))])
    assert len(conflicts) == 1  # one went on, the other took it back


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("579")), max_size=8), min_size=1, max_size=4))
def test_a_merged_patch_has_the_labels_that_its_sources_agree_on(told: list[list[tuple[int, str]]]) -> None:
    patches = [
        as_patch(str(n), *(line(i, "4", new, by=str(n), at=str(k)) for k, (i, new) in enumerate(lines)))
        for n, lines in enumerate(told)
    ]
    merged, conflicts = merge_patches(patches)
    assert set(merged) == {x for p in patches for x in p.lines}
    assert len(merged) == len(set(merged))
    result = as_patch("", *merged).fixes
    for image in {x.image for p in patches for x in p.lines}:
        said = {p.fixes[image].new for p in patches if image in p.fixes}
        if image in {c.image for c in conflicts}:
            assert len(said) > 1
        else:
            assert said == {result[image].new}


def test_a_merged_patch_is_written_atomically_and_replaces_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (line(1, "4", "9"), line(2, "1", "7"))
    write_patch("out.jsonl", lines)
    assert read_patch("out.jsonl").lines == lines
    with pytest.raises(DataError, match=r"out.jsonl already exists. Give the path of a new file"):
        write_patch("out.jsonl", lines[:1])
    assert read_patch("out.jsonl").lines == lines

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"other.jsonl cannot be written"):
        write_patch("other.jsonl", lines)
    assert sorted(p.name for p in Path().iterdir()) == ["out.jsonl"]


# files that are no patch


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (lambda h: "3", "line 2 of p is not a fix but int. Each line must be an object with image, old and new"),
        (lambda h: {"image": h, "old": "up"}, "line 2 of p is not a fix: new is missing"),
        (lambda h: {"image": h, "old": 4, "new": 9}, "line 2 of p is not a fix: old is not text; new is not text"),
        (lambda h: {"image": "abc", "old": "up", "new": "down"}, "image is 'abc', not 64 hex digits"),
    ],
)
def test_a_complete_line_that_is_not_a_fix_is_refused(
    hashes: list[str], contents: Callable[[str], Any], message: str
) -> None:
    good = {"image": hashes[0], "old": "up", "new": "down"}
    bad = contents(hashes[1])
    with pytest.raises(DataError, match=message):
        read_patch(patch(Path("p"), good, bad))


def test_an_unreadable_patch_error_has_the_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The patch nowhere cannot be read: No such file"):
        read_patch("nowhere")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_patch(tmp_path)
    with pytest.raises(DataError, match="cannot be written: Is a directory"):
        add_fixes(tmp_path, ImageSet.from_arrays(*blocks(8)), {})


def test_blank_lines_and_a_hand_written_fix_without_by_and_note_are_read(hashes: list[str]) -> None:
    fix = {"image": hashes[0], "old": "up", "new": "down", "colour": "of a later version"}
    assert read_patch(patch(Path("p"), "", fix, "  ")).lines == (Fix(hashes[0], "up", "down"),)
