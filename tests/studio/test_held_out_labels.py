"""Doubtful labels of training images: found by held-out predictions, fixed, trained with, and gone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread import Run
from misread.runs.held_out import cross_val_predict
from misread.studio import held_out_routes
from misread.studio.runs import run_id
from samples import blocks
from studio_process import Studio, start_studio
from studios import SMALL, Client, until

WRONG = 7  # the training image with the planted label


def planted(folder: Path) -> Run:
    """A run on blocks, one of whose training labels is wrong."""
    (images, labels), (test_images, test_labels) = blocks(240), blocks(120, seed=1)
    labels[WRONG] = (labels[WRONG] + 1) % 4
    arrays = {"x_train": images, "y_train": labels, "x_test": test_images, "y_test": test_labels}
    np.savez(folder / "blocks.npz", **arrays)
    return misread.train(
        str(folder / "blocks.npz"), "tutorial-mlp", epochs=12, settings=SMALL, out=folder / "runs", progress=False
    )


def hold_out(run: Run, out: Path, **options: Any) -> None:
    cross_val_predict(
        run.data, "tutorial-mlp", settings=[*SMALL, "epochs=40"], folds=3, out=out, progress=False, **options
    )


def test_the_list_comes_from_the_newest_predictions_wherever_they_are(tmp_path: Path) -> None:
    client = Client(planted(tmp_path))
    assert client.get("held-out").json() == {"command": f"misread labels {tmp_path / 'blocks.npz'}"}
    hold_out(client.run, tmp_path / "held-out", seeds=1, filter_labels=False, seed=5)
    one = client.get("held-out").json()
    assert one["positions"][0] == WRONG
    hold_out(client.run, tmp_path / "runs" / "held-out", seeds=2)
    (tmp_path / "runs" / "held-out" / "damaged").mkdir()
    (tmp_path / "runs" / "held-out" / "damaged" / "held-out.json").write_text("{")
    two = client.get("held-out").json()
    assert two["positions"][0] == WRONG
    assert two["items"]["label"][0] == (WRONG + 1) % 4
    assert two["items"]["top"][0] == WRONG % 4  # as other networks read it, not the run's own
    assert two["items"]["shares"] != one["items"]["shares"]


@pytest.mark.slow
def test_the_cross_validation_is_started_and_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_routes, "FOLDS", 3)
    monkeypatch.setattr(held_out_routes, "SEEDS", 1)
    client = Client(planted(tmp_path))
    assert client.post("held-out", {}).status_code == 202
    answer, waited = client.when_ready("held-out")
    assert waited > 0
    assert answer.json()["positions"][0] == WRONG
    assert client.post("held-out", {}).status_code == 200  # they are there


def test_arrays_from_memory_cannot_be_held_out(tmp_path: Path) -> None:
    (images, labels), test = blocks(40), blocks(20, seed=1)
    client = Client(
        misread.train(
            ((images, labels), test), "tutorial-mlp", epochs=1, settings=SMALL, out=tmp_path / "runs", progress=False
        )
    )
    for answer in (client.get("held-out"), client.post("held-out", {})):
        assert answer.status_code == 400
        assert "given as arrays in memory" in answer.json()["error"]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    planted(tmp_path)
    found = start_studio(tmp_path / "runs")
    yield found
    found.stop()


def test_without_predictions_the_room_says_how_to_get_them(studio: Studio, pages: Callable[..., Any]) -> None:
    for lang in ("en", "ko"):
        page = pages(studio, "room=misreads&list=doubtful&split=train", lang=lang, width=390)
        page.wait_for_selector("#hold-out", timeout=240_000)
        assert "misread labels" in page.inner_text(".empty code")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("#hold-out")
    until(page, "document.querySelector('#causes-state')?.textContent.endsWith('%')")
    page.reload()  # the work goes on
    until(page, "document.querySelector('#causes-state')?.textContent.endsWith('%')")


def test_a_wrong_training_label_is_first_is_fixed_and_is_gone(studio: Studio, pages: Callable[..., Any]) -> None:
    (folder,) = (studio.folder).glob("*mlp*")
    run = misread.open_run(folder)
    hold_out(run, studio.folder / "held-out", seeds=2)
    page = pages(studio, "room=misreads&list=doubtful&split=train")
    page.wait_for_selector("#tiles [data-item]", timeout=240_000)
    wrong, right = run.data.class_names[(WRONG + 1) % 4], run.data.class_names[WRONG % 4]
    assert page.inner_text(".triage h2") == f"Labelled {wrong}, read as {right}"
    assert page.inner_text("#causes-state").startswith("1 label that networks")
    page.keyboard.press(right)
    until(page, "!document.querySelector('#train-again').disabled")
    page.click("#train-again")
    until(page, "location.hash.includes('training=')")
    page.wait_for_selector(".live-title .state.finished", timeout=240_000)
    (new,) = [f for f in studio.folder.glob("*mlp*") if f != folder and (f / "run.json").is_file()]
    assert misread.open_run(new).record.label_patch.changed["train"] == 1
    page.goto(f"{studio.origin}/#room=misreads&list=doubtful&split=train&run={run_id(new)}")
    page.reload()
    page.wait_for_selector(".misreads .empty", timeout=240_000)
    assert page.inner_text(".misreads .empty") == "There are no labels to check here."
    page.goto(f"{studio.origin}/#room=misreads&list=doubtful&split=train&run={run_id(folder)}")
    page.reload()
    page.wait_for_selector("#tiles .mark")  # by the labels of the first run it is still there, and decided
