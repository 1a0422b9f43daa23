"""The API of runs, against runs that were trained, planted faults, and the library itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import misread
from app_client import AppClient
from misread.studio.app import make_app
from misread.studio.runs import OPEN, Runs, run_id
from misread.studio.security import Access
from misread.studio.trash import DAYS, deleted_runs, empty_trash
from pages import NAMES

TOKEN = "t" * 43
HEADERS = {"origin": "http://127.0.0.1:1", "content-type": "application/json"}


def client_of(folder: Path) -> AppClient:
    client = AppClient(make_app(folder, Access(TOKEN, "127.0.0.1", 1)), "http://127.0.0.1:1")
    client.get(f"/?token={TOKEN}")
    client.headers.update(HEADERS)
    return client


@pytest.fixture
def folder(trained_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_runs, tmp_path / "runs"))


@pytest.fixture
def api(folder: Path) -> AppClient:
    return client_of(folder)


@pytest.fixture(scope="module")
def fixed_api(trained_runs: Path) -> AppClient:
    """For tests that change nothing."""
    return client_of(trained_runs)


def rows_of(api: AppClient) -> list[dict[str, Any]]:
    answer = api.get("/api/runs")
    assert answer.status_code == 200
    return answer.json()


def folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def test_list_has_every_run_the_newest_first_with_the_numbers_of_run_json(
    fixed_api: AppClient, trained_runs: Path
) -> None:
    rows = rows_of(fixed_api)
    assert len(rows) == 4
    assert [row["date"] for row in rows] == sorted((row["date"] for row in rows), reverse=True)
    for row in rows:
        record = json.loads((trained_runs / row["name"] / "run.json").read_text())
        assert row["accuracy"] == record["metrics"]["test"]["accuracy"]
        assert row["misread"] == record["metrics"]["test"]["misread"]
        assert (row["recipe"], row["status"], row["error"]) == (record["recipe"], "complete", "")


def test_damaged_unfinished_and_foreign_folders_do_not_break_the_list(api: AppClient, folder: Path) -> None:
    damaged, other = folders(folder)[:2]
    (damaged / "run.json").write_text('{"format": 1, "status": ')
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, "format": 99}))
    (folder / "half.partial").mkdir()
    (folder / "notes").mkdir()
    (folder / "file.txt").write_text("no run")
    rows = {row["name"]: row for row in rows_of(api)}
    assert len(rows) == 5
    assert rows[damaged.name]["status"] == "damaged"
    assert "is damaged" in rows[damaged.name]["error"]
    assert "Install a newer misread" in rows[other.name]["error"]
    assert rows["half.partial"]["status"] == "unfinished"
    answer = api.get(f"/api/runs/{rows[damaged.name]['id']}")
    assert answer.status_code == 400
    assert "is damaged" in answer.json()["error"]


def test_a_run_in_training_is_listed_as_running_and_cannot_be_deleted(api: AppClient, folder: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    partial = folder / "20990101-000000-fast.partial"
    partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        row = next(row for row in rows_of(api) if row["name"] == partial.name)
        assert row["status"] == "running"
        answer = api.post(f"/api/runs/{row['id']}/delete", json={})
        assert answer.status_code == 400
        assert "Stop it first" in answer.json()["error"]
    finally:
        os.close(descriptor)
    assert partial.is_dir()


def test_title_and_note_are_kept_as_they_are_and_run_json_is_not_touched(api: AppClient, folder: Path) -> None:
    run = folders(folder)[0]
    before, id = (run / "run.json").read_bytes(), run_id(run)
    title, note = "<img src=x onerror=alert(1)>", '한글 & "quotes"\n</script>\u2028'
    assert api.post(f"/api/runs/{id}/rename", json={"title": f"  {title} "}).status_code == 200
    assert api.post(f"/api/runs/{id}/note", json={"note": note}).status_code == 200
    row = next(row for row in rows_of(api) if row["id"] == id)
    assert (row["title"], row["note"]) == (title, note.strip())
    assert api.get(f"/api/runs/{id}").json()["title"] == title
    assert (run / "run.json").read_bytes() == before
    assert rows_of(client_of(folder)) == rows_of(api)  # also after a restart


def test_damaged_notes_do_not_hide_the_run(api: AppClient, folder: Path) -> None:
    for text in ("", "[]", "{", '{"title": null}'):
        (folders(folder)[0] / "notes.json").write_text(text)
        assert len(rows_of(api)) == 4


def test_damaged_notes_are_said_and_kept(api: AppClient, folder: Path) -> None:
    run = folders(folder)[0]
    id, notes = run_id(run), run / "notes.json"
    api.post(f"/api/runs/{id}/note", json={"note": "the one with more epochs"})
    damaged = notes.read_text().replace("more", "mose")
    notes.write_text(damaged)
    row = next(row for row in rows_of(api) if row["id"] == id)
    assert (row["note"], row["status"]) == ("", "complete")
    assert row["error"].startswith("notes.json, with the name and the note of this run, is damaged: ")
    assert api.post(f"/api/runs/{id}/rename", json={"title": "mine"}).status_code == 200
    assert (run / "notes.json.damaged").read_text() == damaged
    row = next(row for row in rows_of(api) if row["id"] == id)
    assert (row["title"], row["error"]) == ("mine", "")


def test_delete_can_be_undone_and_changes_no_file(api: AppClient, folder: Path) -> None:
    run = folders(folder)[1]
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    id = run_id(run)
    assert api.post(f"/api/runs/{id}/delete", json={}).status_code == 200
    assert not run.exists()
    assert id not in {row["id"] for row in rows_of(api)}
    assert [row["id"] for row in api.get("/api/runs?deleted=1").json()] == [id]
    assert api.get(f"/api/runs/{id}").status_code == 404
    assert api.post(f"/api/runs/{id}/restore", json={}).status_code == 200
    assert api.get("/api/runs?deleted=1").json() == []
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file() and path.name != "notes.json"}
    assert after == before
    assert api.post(f"/api/runs/{id}/restore", json={}).status_code == 404


def test_trash_is_emptied_by_age_only(folder: Path) -> None:
    runs = Runs(folder)
    old, new = (run_id(path) for path in folders(folder)[:2])
    runs.delete(old)
    runs.delete(new)
    path = next(path for path in deleted_runs(folder) if run_id(path) == old)
    deleted = datetime.now(UTC) - timedelta(days=DAYS, minutes=1)
    (path / "notes.json").write_text(json.dumps({"deleted": deleted.isoformat()}))
    (folder / ".trash" / "unknown").mkdir()  # without a time
    empty_trash(folder)
    assert {run_id(path) for path in deleted_runs(folder)} == {new, run_id(folder / "unknown")}


def test_images_labels_and_predictions_are_those_of_the_library(fixed_api: AppClient, trained_runs: Path) -> None:
    for path in folders(trained_runs):
        run, id = misread.open_run(path), run_id(path)
        for split in ("train", "test"):
            expected = run.split(split)
            rows = [len(expected) - 1, 0, 3]
            answer = fixed_api.get(f"/api/runs/{id}/images/{split}?rows={','.join(map(str, rows))}")
            pixels = np.frombuffer(answer.content, np.uint8).reshape(3, *expected.images.shape[1:])
            assert np.array_equal(pixels, expected.images[rows])
            labels = fixed_api.get(f"/api/runs/{id}/labels/{split}").json()
            assert labels["labels"] == expected.labels.tolist()
            assert labels["rows"] == expected.rows.tolist()
        probs = np.frombuffer(fixed_api.get(f"/api/runs/{id}/predictions/test").content, "<f4")
        assert np.array_equal(probs, run.predictions().probs.astype("<f4").ravel())


def test_model_has_the_weights_of_the_run(fixed_api: AppClient, trained_runs: Path) -> None:
    path = folders(trained_runs)[3]
    answer = fixed_api.get(f"/api/runs/{run_id(path)}/model")
    assert answer.status_code == 200
    weights = load_file(path / "model.safetensors").values()
    assert answer.content.startswith(b"misreadN")
    for tensor in weights:
        if tensor.dim() == 1:  # the file has the kernels in another order
            assert tensor.numpy().astype("<f4").tobytes() in answer.content


@pytest.mark.parametrize(
    ("query", "status"),
    [("rows=-1", 404), ("rows=160", 404), ("rows=159", 200), ("rows=x", 400), ("rows=99999999999999999999", 400),
     ("from=150&count=1000", 200), ("from=-1", 404), ("from=x", 400), ("", 200), ("rows=", 200)],
)  # fmt: skip
def test_rows_outside_the_split_are_refused(fixed_api: AppClient, trained_runs: Path, query: str, status: int) -> None:
    id = run_id(folders(trained_runs)[0])
    answer = fixed_api.get(f"/api/runs/{id}/images/test?{query}")
    assert answer.status_code == status
    if query.startswith("from=150"):
        assert len(answer.content) == 10 * 64
    assert fixed_api.get(f"/api/runs/{id}/images/elsewhere").status_code == 404


def test_details_have_what_the_rooms_need(fixed_api: AppClient, trained_runs: Path) -> None:
    path = folders(trained_runs)[0]
    details = fixed_api.get(f"/api/runs/{run_id(path)}").json()
    assert details["data"]["class_names"] == NAMES
    assert details["data"]["image_shape"] == [8, 8, 1]
    assert len(details["history"]) == 12
    assert details["history"][0]["epoch"] == 1
    assert details["recipe"]["batch_size"] == misread.open_run(path).recipe.batch_size
    assert "test" in details["splits"]


def test_comparison_is_that_of_the_library(fixed_api: AppClient, trained_runs: Path) -> None:
    a, b, other = folders(trained_runs)[:3]
    expected = misread.compare(a, b)
    found = fixed_api.get(f"/api/compare?a={run_id(a)}&b={run_id(b)}").json()
    assert (found["fixed"], found["broken"]) == (expected.n_fixed, expected.n_broken)
    assert found["p_value"] == pytest.approx(expected.p_value)
    assert found["on_fixed_labels"] is None  # b was trained without a patch
    probs = {name: misread.open_run(path).predictions() for name, path in (("a", a), ("b", b))}
    for line in found["changes"]:
        for name, scored in probs.items():
            predicted = NAMES[int(scored.probs[line["position"]].argmax())]
            assert line[f"prediction_{name}"] == predicted
    answer = fixed_api.get(f"/api/compare?a={run_id(a)}&b={run_id(other)}")
    assert answer.status_code == 400
    assert "Two models are compared on the same images" in answer.json()["error"]
    assert fixed_api.get(f"/api/compare?a={run_id(a)}&b={run_id(a)}").status_code == 400


def test_report_runs_its_own_script_and_no_other(api: AppClient, folder: Path) -> None:
    run = folders(folder)[0]
    for planted in (False, True):
        if planted:  # a report that somebody else wrote, younger than the run
            (run / "report.html").write_text("<script>alert(1)</script>")
        answer = api.get(f"/reports/{run_id(run)}")
        assert answer.status_code == 200
        allowed = re.findall(r"'sha256-([^']+)'", answer.headers["content-security-policy"])
        scripts = re.findall(r'<script type="module">(.*?)</script>', answer.text, re.DOTALL)
        assert [b64encode(sha256(script.encode()).digest()).decode() for script in scripts] == allowed
        assert "alert(1)</script>" not in answer.text
        assert "'unsafe-inline'" not in answer.headers["content-security-policy"].partition("style-src")[0]


def test_a_report_with_a_playground_is_shown_and_stays_as_it_is(api: AppClient, folder: Path) -> None:
    run = folders(folder)[0]
    written = misread.open_run(run).report(causes=False, playground=True).read_text()
    answer = api.get(f"/reports/{run_id(run)}")
    assert answer.text == written == (run / "report.html").read_text()
    (script,) = re.findall(r'<script type="module">(.*?)</script>', written, re.DOTALL)
    assert b64encode(sha256(script.encode()).digest()).decode() in answer.headers["content-security-policy"]


def test_a_report_is_shown_in_the_language_asked_for(api: AppClient, folder: Path) -> None:
    run = folders(folder)[0]
    written = misread.open_run(run).report(causes=False).read_text()
    korean = api.get(f"/reports/{run_id(run)}?lang=ko").text
    assert '<html lang="ko">' in korean
    assert api.get(f"/reports/{run_id(run)}?lang=ko").text == korean  # it was kept
    assert api.get(f"/reports/{run_id(run)}").text == written == (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert '<html lang="en">' in api.get(f"/reports/{run_id(run)}").text
    answer = api.get(f"/reports/{run_id(run)}?lang=xx")
    assert answer.status_code == 400
    assert "there are en, ko" in answer.json()["error"]


def test_data_that_is_gone_is_an_error_with_a_reason(api: AppClient, folder: Path, trained_runs: Path) -> None:
    run = folders(folder)[0]
    record = json.loads((run / "run.json").read_text())
    record["data"]["source"] = str(folder / "gone.npz")
    (run / "run.json").write_text(json.dumps(record))
    answer = api.get(f"/api/runs/{run_id(run)}/images/test?rows=0")
    assert answer.status_code == 400
    assert "gone.npz" in answer.json()["error"]


def test_a_run_is_opened_once_until_it_changes_and_shares_its_data(folder: Path) -> None:
    runs = Runs(folder)
    first, second = (run_id(path) for path in folders(folder)[:2])
    opened = runs.open(first)
    data = opened.data
    assert runs.open(first) is opened
    assert runs.open(second).data is data
    record = runs.path(first) / "run.json"
    os.utime(record, ns=(0, record.stat().st_mtime_ns + 1))
    assert runs.open(first) is not opened
    assert OPEN >= 2


def test_state_says_what_to_begin_with(fixed_api: AppClient, trained_runs: Path, tmp_path: Path) -> None:
    state = fixed_api.get("/api/state").json()
    assert state["selected"] == rows_of(fixed_api)[0]["id"]
    assert "runs" in state["rooms"]
    choices = fixed_api.get("/api/trainings/choices").json()
    assert "digits" in choices["data"]
    assert "tutorial-cnn" in choices["recipes"]
    empty = client_of(tmp_path / "none").get("/api/state").json()
    assert empty["selected"] is None


@pytest.mark.parametrize("bytes", [0, 63, 65, 2 * 2**20])
def test_an_image_of_another_size_is_refused_before_it_is_used(
    fixed_api: AppClient, trained_runs: Path, bytes: int
) -> None:
    id, pixels = run_id(folders(trained_runs)[0]), b64encode(b"x" * bytes).decode()
    answer = fixed_api.post(f"/api/runs/{id}/nearest", json={"pixels": pixels})
    assert answer.status_code == 400
    assert answer.json()["error"] == f"pixels has {bytes:,} bytes; an image of (8, 8, 1) (H, W, C) has 64."


def test_the_page_is_shown_without_torch_and_pandas(trained_runs: Path) -> None:
    """They take seconds to import."""
    script = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import misread.cli.main
from app_client import AppClient
from misread.studio.app import make_app
from misread.studio.security import Access
from misread.studio import server
client = AppClient(make_app(Path({str(trained_runs)!r}), Access("t", "127.0.0.1", 1)), "http://127.0.0.1:1")
assert client.get("/?token=t").status_code == 200
run = client.get("/api/state").json()["selected"]
for address in ("/web/style.css", "/messages/ko", "/web/shell/start.js", "/api/runs", f"/api/runs/{{run}}"):
    assert client.get(address).status_code == 200, address
print([name for name in ("torch", "pandas", "sklearn", "matplotlib") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
