"""Decisions on labels: what the patch holds afterwards, and that no writer loses anything."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread.data.image_hash import image_hash
from misread.data.label_decisions import KINDS, Decision, Wish, decide, decisions
from misread.data.label_patch import Fix, read_patch
from misread.errors import DataError, RunError
from misread.studio.label_routes import patch_file
from studios import NAMES, Client, small_run

HASHES = [f"{k:064x}" for k in range(400)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(small_run(tmp_path_factory.mktemp("decisions")))


@pytest.fixture
def patch(client: Client) -> Iterator[Path]:
    path = patch_file(client.run.folder.parent, client.run.record)
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def one(position: int, kind: str, label: str | None = None, seen: int | None = None) -> dict[str, Any]:
    return {"position": position, "kind": kind, "label": label, "seen": seen}


def wish(client: Client, *wishes: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("decisions", {"split": "test", "decisions": list(wishes)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_fix_of_the_page_is_a_fix_for_the_command_line_and_for_training(
    client: Client, patch: Path, cli: Any
) -> None:
    data = client.run.data
    wrong = int(np.flatnonzero(client.run.predictions().misread)[0])
    old, right = NAMES[data.test.labels[wrong]], NAMES[client.run.predictions().predicted[wrong]]
    written = wish(client, one(wrong, "fixed", right), one(1, "ambiguous"), one(2, "kept"), one(3, "skipped"))[
        "written"
    ]
    image = image_hash(data.test.images[wrong])
    assert (written[image]["kind"], written[image]["label"], written[image]["version"]) == ("fixed", right, 1)

    shown = json.loads(cli("labels", "show", str(patch), "--json").out)
    assert [(fix["hash"], fix["old"], fix["new"]) for fix in shown] == [(image, old, right)]
    assert "1 active" in cli("labels", "show", str(patch)).out
    assert ", 0 undone; 4 lines" in cli("labels", "show", str(patch)).out
    fixed = read_patch(patch).fix(data)
    assert np.flatnonzero(fixed.data.test.labels != data.test.labels).tolist() == [wrong]
    trained = misread.train(
        data, "tutorial-mlp", epochs=1, label_patch=patch, out=patch.parent / "runs", progress=False
    )
    assert trained.record.label_patch is not None
    assert trained.record.label_patch.changed["test"] == 1


def test_undo_leaves_the_labels_as_they_were_and_keeps_the_history(client: Client, patch: Path) -> None:
    wish(client, one(0, "fixed", NAMES[3]), one(1, "ambiguous"))
    wish(client, one(0, ""), one(1, ""))
    assert read_patch(patch).fixes == {}
    found = client.get("decisions").json()
    assert {made["kind"] for made in found["decisions"].values()} == {""}
    assert found["fixes"] == 0
    wish(client, one(0, "fixed", NAMES[3]))  # redo
    assert len(read_patch(patch).fixes) == 1
    assert len(patch.read_text().splitlines()) == 5
    wish(client, one(0, "ambiguous"))  # a fix that becomes another decision changes no label any longer
    assert read_patch(patch).fixes == {}
    assert [made["version"] for made in client.get("decisions").json()["decisions"].values()] == [4, 2]


def test_a_decision_that_another_page_made_meanwhile_is_never_overwritten_unseen(client: Client, patch: Path) -> None:
    wish(client, one(0, "fixed", NAMES[3], seen=0))
    answer = wish(client, one(0, "ambiguous", seen=0), one(1, "kept", seen=0))
    (conflict,) = answer["conflicts"].values()
    assert (conflict["kind"], conflict["label"], conflict["version"]) == ("fixed", NAMES[3], 1)
    assert [made["kind"] for made in answer["written"].values()] == ["kept"]
    again = wish(client, one(0, "fixed", NAMES[3], seen=0))  # both decided the same: no conflict, and no line
    assert again["conflicts"] == {}
    assert len(patch.read_text().splitlines()) == 2
    assert wish(client, one(0, "ambiguous", seen=1))["conflicts"] == {}


def test_lines_by_the_command_line_are_seen_by_the_page(client: Client, patch: Path, cli: Any) -> None:
    image = image_hash(client.run.data.test.images[7])
    new = NAMES[(client.run.data.test.labels[7] + 2) % 4]
    wish(client, one(1, "kept"))
    cli("labels", "apply", str(patch), client.run.data.source, "--fix", f"{image[:12]}={new}")
    made = client.get("decisions").json()["decisions"][image]
    assert (made["kind"], made["label"]) == ("fixed", new)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"split": "test", "decisions": []}, "a list of 1 to 5,000"),
        ({"split": "../test", "decisions": [one(0, "kept")]}, "split must be one of train, val, test"),
        ({"split": "test", "decisions": [one(120, "kept")]}, "from 0 to 119, not 120"),
        ({"split": "test", "decisions": [one(0, "maybe")]}, "'maybe' is no decision"),
        ({"split": "test", "decisions": [one(0, "fixed", "rihgt")]}, "Did you mean 'right'?"),
        ({"split": "test", "decisions": ["x"]}, "position must be a whole number"),
        ({"split": "test", "decisions": [{"position": 1, "kind": 3}]}, "A decision has a kind (text)"),
    ],
)
def test_a_decision_that_is_not_possible_is_refused_whole(client: Client, patch: Path, body: Any, said: str) -> None:
    answer = client.post("decisions", body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert not patch.is_file() or not patch.read_text()


def test_data_given_as_arrays_has_no_patch(client: Client) -> None:
    record = client.run.record
    nameless = record.model_copy(update={"data": record.data.model_copy(update={"source": ""})})
    with pytest.raises(RunError, match="given as arrays in memory"):
        patch_file(Path("runs"), nameless)


def test_names_of_data_stay_in_the_folder_of_patches(client: Client) -> None:
    record = client.run.record
    for name, source in (
        ("../../x", "/a/../../x"),
        (".hidden", "/b"),
        ("a" * 300, "/c"),
        ("mnist", "mnist"),
        ("", "/"),
    ):
        data = record.data.model_copy(update={"name": name, "source": source})
        path = patch_file(Path("runs"), record.model_copy(update={"data": data}))
        assert path.parent == Path("runs/labels")
        assert not path.name.startswith(".")
        assert len(path.name) < 100
    assert path.name != "mnist.jsonl"


def _write(path: Path, hashes: list[str], kind: str) -> None:
    for image in hashes:
        decide(path, [Wish(image, "up", kind, "down" if kind == "fixed" else "")], NAMES, by=kind)


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "patch"
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write, args=(path, HASHES[k * 25 : k * 25 + 25], KINDS[k])) for k in range(len(KINDS))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    made = decisions(read_patch(path))
    assert {image: made[image].kind for image in HASHES[:100]} == {HASHES[i]: KINDS[i // 25] for i in range(100)}


def _write_for_ever(path: Path) -> None:
    while True:
        _write(path, HASHES, "kept")
        _write(path, HASHES, "fixed")


def test_a_killed_writer_leaves_a_patch_that_reads_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "patch"
    writer = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(path,))
    writer.start()
    while not path.is_file() or path.stat().st_size < 2000:
        time.sleep(0.01)
    assert writer.pid
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    before = decisions(read_patch(path))
    assert before
    path.write_bytes(path.read_bytes() + b'{"image": "00')  # a line that was cut off, as by power loss
    written, _ = decide(path, [Wish(HASHES[0], "up", "ambiguous")], NAMES)
    after = decisions(read_patch(path))
    assert after[HASHES[0]] == written[HASHES[0]]
    assert {image: made for image, made in after.items() if image != HASHES[0]} == {
        image: made for image, made in before.items() if image != HASHES[0]
    }


def test_what_counts_is_the_last_line_and_its_difference_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "patch"
    lines = [
        Fix(HASHES[0], "up", "left"),
        Fix(HASHES[0], "left", "up", decision="ambiguous"),
        Fix(HASHES[1], "up", "up"),
        Fix(HASHES[2], "up", "up", decision="from the future"),
    ]
    path.write_text("".join(line.line() for line in lines))
    made = decisions(read_patch(path))
    assert made[HASHES[0]] == Decision("ambiguous", "up", version=2)
    assert [made[HASHES[k]].kind for k in (1, 2)] == ["", ""]
    with pytest.raises(DataError, match="'up' is the label already"):
        decide(path, [Wish(HASHES[5], "up", "fixed", "up")], NAMES)
