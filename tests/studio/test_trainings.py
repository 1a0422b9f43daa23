"""Trainings of the studio in real processes: commands, queue, failures, and that the runs are exact."""

import os
import signal
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import misread
from misread.studio import training_choices
from misread.studio.training_snapshot import MAX_POINTS, thinned
from trainings import TINY, Client, place, studio


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Client]:
    with studio(tmp_path / "runs") as client:
        yield client


def run_of(page: Client, ended: dict[str, Any]) -> misread.Run:
    return misread.open_run(page.app.state.runs.path(ended["training"]["run"]))


def weights(run: misread.Run) -> dict[str, np.ndarray]:
    return load_file(run.folder / "model.safetensors")


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def plainly(folder: Path, **more: Any) -> misread.Run:
    """The same training without the studio."""
    return misread.train("digits", "tutorial-mlp", settings=TINY, out=folder, progress=False, **more)


def test_steps_pauses_and_a_changed_rate_leave_an_exact_run_that_says_so(page: Client, tmp_path: Path) -> None:
    id = page.tiny(paused=True)
    assert place(page.wait(id, "paused")) == (0, 0)
    for step in (1, 2, 3):
        after = page.step(id)
        assert place(after) == (1, step)  # one step, not one tick
        assert len(after["losses"]) == step
    page.act(id, "step")
    page.act(id, "step")  # two that wait are two steps
    page.until(id, lambda now: place(now) == (1, 5) and now["training"]["state"] == "paused")
    page.act(id, "rate", rate=0.01)
    page.act(id, "resume")
    ended = page.wait(id, "finished")
    run = run_of(page, ended)
    assert [change.model_dump() for change in run.record.rate_changes] == [
        {"member": 0, "epoch": 0, "step": 5, "factor": 10.0}
    ]
    assert ended["finished"]["rate_changes"] == [change.model_dump() for change in run.record.rate_changes]
    assert [row["epoch"] for row in ended["rows"]] == [1, 2] == run.history["epoch"].tolist()
    assert [row["val_loss"] for row in ended["rows"]] == pytest.approx(run.history["val_loss"].tolist())
    assert not same(weights(run), weights(plainly(tmp_path / "plain")))
    assert misread.reproduce(run, progress=False).exact


def test_a_training_that_is_only_watched_gives_the_same_bits(page: Client, tmp_path: Path) -> None:
    ended = page.wait(page.tiny(), "finished", "failed")
    run, plain = run_of(page, ended), plainly(tmp_path / "plain")
    assert same(weights(run), weights(plain))
    assert run.record.rate_changes == ()
    assert run.record.status == "complete"
    misreads = ended["misreads"]  # the validation images are those of the test split here
    assert misreads["rows"] == np.flatnonzero(plain.predictions().misread).tolist()
    assert misreads["counts"]["misread"] == len(misreads["rows"])
    assert ended["losses"][-1][0] == ended["accuracies"][-1][0] == 2 * 45


def test_stop_leaves_a_complete_run_and_the_next_in_the_queue_begins(page: Client) -> None:
    first, second, third = page.tiny({"epochs": 9999}), page.tiny(), page.tiny()
    page.until(first, lambda now: len(now["rows"]) >= 1)
    states = [training["state"] for training in page.get("/api/trainings")]
    assert states == ["running", "queued", "queued"]
    page.act(second, "stop")  # it waits in the queue, and is cancelled
    assert page.post(f"/api/trainings/{second}/pause").status_code == 400
    page.act(first, "stop")
    ended = page.wait(first, "finished", "failed")
    run = run_of(page, ended)
    assert (run.record.status, run.record.stopped) == ("complete", "stopped in the studio")
    page.wait(third, "finished")
    assert [t["state"] for t in page.get("/api/trainings")] == ["finished", "cancelled", "finished"]


def test_a_killed_process_fails_alone_and_the_next_training_runs(page: Client) -> None:
    id = page.tiny(paused=True)
    page.wait(id, "paused")
    process = page.app.state.trainings.get(id).process
    os.kill(process.pid, signal.SIGKILL)
    failed = page.wait(id, "failed")
    assert "ended by signal 9" in failed["training"]["message"]
    assert "memory" in failed["training"]["message"]
    assert page.get("/api/runs") is not None  # the server lives
    page.wait(page.tiny({"epochs": 1}), "finished")


def test_a_page_that_comes_later_gets_everything_and_then_the_same_events(page: Client) -> None:
    id = page.tiny({"epochs": 9999})
    page.until(id, lambda now: len(now["rows"]) >= 2)
    heard: list[list[dict[str, Any]]] = [[], []]
    threads = [
        threading.Thread(target=lambda kept=kept: kept.extend(page.events(id)))  # two tabs
        for kept in heard
    ]
    for thread in threads:
        thread.start()
    page.until(id, lambda now: len(now["rows"]) >= 4)
    page.act(id, "stop")
    for thread in threads:
        thread.join()
    for events in heard:
        first, *_, finished, end = events
        assert first["type"] == "snapshot"
        assert len(first["rows"]) >= 2
        assert first["started"]["data"]["n_train"] == 1438
        assert (finished["type"], end) == ("finished", {"type": "end"})
        rows = first["rows"] + [row for event in events if event["type"] == "progress" for row in event["rows"]]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))  # nothing is missing or twice


def test_the_end_of_the_studio_interrupts_the_training_so_that_it_can_be_resumed(tmp_path: Path) -> None:
    with studio(tmp_path / "runs") as page:
        id = page.tiny({"epochs": 60}, paused=True)
        page.wait(id, "paused")
        page.step(id)
        training = page.app.state.trainings.get(id)
    assert training.state == "interrupted"
    (folder,) = (tmp_path / "runs").iterdir()
    assert training.message == f"misread train --resume {folder}"
    assert misread.open_run(folder).record.status == "interrupted"
    with studio(tmp_path / "runs") as page:
        (row,) = page.get("/api/runs")
        ended = page.wait(page.start(resume=row["id"]), "finished", "failed")
        resumed = run_of(page, ended)
    assert resumed.record.interruptions[0].exact
    plain = misread.train("digits", "tutorial-mlp", settings={**TINY, "epochs": 60}, out=tmp_path, progress=False)
    assert same(weights(resumed), weights(plain))


def test_what_cannot_be_trained_is_said_before_it_starts(page: Client) -> None:
    def problem(**body: Any) -> str:
        answer = page.post("/api/trainings", **body)
        assert answer.status_code == 400
        return answer.json()["error"]

    assert "Did you mean 'digits'?" in problem(data="digit", recipe="fast")
    assert "There is no data set '/etc'" in problem(data="/etc", recipe="fast")
    assert "Did you mean 'fast'?" in problem(data="digits", recipe="fats")
    assert "There is no recipe '/tmp/x.toml'" in problem(data="digits", recipe="/tmp/x.toml")
    message = problem(data="digits", recipe="fast", settings={"epohcs": 3, "batch_size": "many"})
    assert "epohcs: there is no such setting. Did you mean 'epochs'?" in message
    assert "batch_size: 'many'" in message  # every problem at once
    assert "misread train DATA --backbone" in problem(
        data="digits", recipe="fast", settings={"backbone.name": "/etc/passwd.pt2"}
    )
    assert "misread train DATA --backbone" in problem(
        data="digits", recipe="fast", settings={"backbone": {"name": "x"}}
    )
    assert "recipe must be a text" in problem(data="digits")
    assert page.get("/api/trainings") == []
    assert page.post("/api/trainings/check", recipe="fast", settings={"epochs": 3}).json() == {"problem": ""}
    checked = page.post("/api/trainings/check", recipe="fast", settings={"epohcs": 3}).json()["problem"]
    assert "Did you mean 'epochs'?" in checked
    assert page.post("/api/trainings/0/pause").status_code == 400


@pytest.mark.parametrize("rate", [0, -1, 1e7, "much", None, True])
def test_a_learning_rate_out_of_range_is_refused(page: Client, rate: Any) -> None:
    assert page.post("/api/trainings/0/rate", rate=rate).status_code == 400


def test_a_training_that_fails_says_why(page: Client) -> None:
    deep = [{"type": "Flatten"}, *[{"type": "Dense", "units": 16}] * 3, {"type": "Dense", "units": "classes"}]
    id = page.tiny({"layers": deep, "optimizer.name": "sgd", "optimizer.learning_rate": 1e6})
    failed = page.wait(id, "failed", "finished")
    assert failed["training"]["message"].startswith("The loss is no longer finite")
    assert not list((page.app.state.runs.folder).glob("*"))


def test_the_form_has_the_settings_of_every_recipe(page: Client) -> None:
    choices = page.get("/api/trainings/choices")
    assert choices["recipes"]["tutorial-mlp"]["epochs"] == 10
    assert set(choices["recipes"]["tutorial-mlp"]) == set(choices["schema"]["properties"])
    assert {"mnist", "digits"} <= set(choices["data"])
    assert training_choices.MAX_SETTINGS > 100


def test_a_long_curve_keeps_its_ends() -> None:
    points = list(range(MAX_POINTS * 5 + 3))
    kept = thinned(points)
    assert MAX_POINTS / 2 <= len(kept) <= MAX_POINTS
    assert kept[-1] == points[-1]
    assert len(set(np.diff(kept))) == 1


def test_carved_validation_images_are_those_that_the_page_gets(page: Client) -> None:
    ended = page.wait(page.tiny({"validation.name": "carve", "epochs": 1}), "finished")
    val = run_of(page, ended).split("val")
    assert ended["misreads"]["n"] == len(val)
    for picture in ended["misreads"]["pictures"]["misread"]:
        assert picture["label"] == val.labels[picture["row"]]
        assert b64decode(picture["pixels"]) == val.images[picture["row"]].tobytes()
