"""The room Train in a real browser: start, watch, steer, and go on with what came out."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from misread.data.image_hash import image_hashes
from misread.data.label_patch import add_fixes
from misread.studio.label_routes import patch_file
from trainings import Client, studio

Visit = Callable[..., Any]
PATIENCE = 300_000  # ms: other work may hold the machine


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with studio(tmp_path_factory.mktemp("studio") / "runs") as client:
        yield client


@pytest.fixture
def visit(browser: Any, client: Client) -> Iterator[Visit]:
    """Opens the room in a tab. No test ends well whose page said anything to the console or asked another host."""
    contexts, faults = [], []

    def open_page(address: str = "", width: int = 1280, lang: str = "en") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: request.url.startswith(client.origin) or faults.append(request.url[:80]))
        page.goto(f"{client.origin}/?token={client.access.token}&lang={lang}#room=train{address}")
        page.wait_for_selector("#train-data")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for fault in faults if not fault.startswith(("data:", "blob:"))] == []


def state_is(page: Any, state: str) -> None:
    page.wait_for_selector(f".live-title .state.{state}")


def place(page: Any) -> tuple[str, str]:
    return page.inner_text("[data-number=epoch]"), page.inner_text("[data-number=step-number]")


def start(page: Any, epochs: int, paused: bool = False) -> None:
    page.select_option("#train-data", "digits")
    page.select_option("#train-recipe", "tutorial-mlp")
    page.fill("[data-setting=epochs] input", str(epochs))
    page.set_checked("#train-paused", paused)
    page.click(".training-start button.main")


def test_a_training_is_started_stepped_steered_and_stopped(visit: Visit, client: Client) -> None:
    page = visit()
    start(page, 5000, paused=True)
    state_is(page, "paused")
    for step in (1, 2):
        page.click("[data-action=step]")
        page.wait_for_selector(f"[data-number=step-number]:text-is('{step} / 15')")
    assert page.locator(".weight-pictures canvas").count() == 36
    assert page.inner_text(".dead-units .n").endswith("of 1,000")
    page.locator("input.rate").focus()
    page.keyboard.press("ArrowRight")  # the 60th part of a decade
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("s")
    page.wait_for_selector("[data-number=step-number]:text-is('3 / 15')")
    assert float(page.inner_text("[data-number=rate-now]")) == pytest.approx(0.001 * 10 ** (1 / 60), rel=0.01)
    page.keyboard.press("p")
    state_is(page, "running")
    page.wait_for_selector(".changed-images canvas")
    page.reload()  # in the middle: the whole picture is there again
    page.wait_for_selector(".changed-images canvas")
    assert page.locator(".weight-pictures canvas").count() == 36
    drawn = page.eval_on_selector(
        ".curves",
        "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size",
    )
    assert drawn > 10
    page.click("[data-action=stop]")
    state_is(page, "finished")
    assert page.inner_text(".result-line").startswith("Test accuracy ")
    run = client.get("/api/runs")[0]
    assert f"of {run['n']} misread" in page.inner_text(".result-line")
    assert "changed once" in page.inner_text(".training-result")


def test_problems_of_settings_are_shown_where_they_are_and_nothing_starts(visit: Visit, client: Client) -> None:
    before = len(client.get("/api/trainings"))
    page = visit()
    page.select_option("#train-recipe", "tutorial-mlp")
    page.fill("[data-setting='optimizer.learning_rate'] input", "fast")
    page.wait_for_selector("[data-setting='optimizer.learning_rate'] .problem:not(:empty)")
    assert "'fast'" in page.inner_text("[data-setting='optimizer.learning_rate'] .problem")
    page.click(".training-start button.main")
    page.wait_for_selector(".training-start button.main:enabled")
    assert len(client.get("/api/trainings")) == before
    page.fill("[data-setting='optimizer.learning_rate'] input", "0.01")
    page.wait_for_selector("[data-setting='optimizer.learning_rate'] .problem", state="hidden")
    page.select_option("[aria-label='optimizer.name']", "sgd")
    assert page.input_value("[data-setting='optimizer.learning_rate'] input") == "0.01"  # that of sgd
    assert page.locator("[data-setting='optimizer.momentum']").count() == 1
    assert page.locator("[data-setting='optimizer.beta_1']").count() == 0


@pytest.mark.slow
def test_two_tabs_show_the_same_training_and_one_leaves(visit: Visit, client: Client) -> None:
    id = client.tiny({"epochs": 9999}, paused=True)
    client.wait(id, "paused")
    first, second = visit(f"&training={id}"), visit(f"&training={id}", width=390, lang="ko")
    client.step(id)
    for page in (first, second):
        page.wait_for_selector("[data-number=step-number]:text-is('1 / 45')")
    assert second.evaluate("document.documentElement.scrollWidth") <= 390
    first.close()  # the training goes on without it
    second.click("[data-action=step]")
    second.wait_for_selector("[data-number=step-number]:text-is('2 / 45')")
    assert place(second)[1] == "2 / 45"
    client.act(id, "stop")
    state_is(second, "finished")


@pytest.mark.slow
def test_a_run_is_trained_again_with_fixed_labels_and_compared_on_both(visit: Visit, client: Client) -> None:
    run = client.wait(client.tiny(), "finished")["training"]["run"]
    opened = client.app.state.runs.open(run)
    test = opened.split("test")
    wrong = opened.predictions().misread.nonzero()[0][:3]
    prediction = opened.predictions().probs.argmax(axis=1)
    path = patch_file(client.app.state.runs.folder, opened.record)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = {image_hashes(test.images)[row]: opened.record.data.class_names[prediction[row]] for row in wrong}
    add_fixes(path, opened.data, new)
    page = visit(f"&run={run}")
    page.click("[data-again=fixes]")
    page.wait_for_selector(".comparison tbody tr")
    rows = page.locator(".comparison tbody tr").all_inner_texts()
    assert len(rows) == 2
    found = client.get(f"/api/compare?a={run}&b={client.get('/api/trainings')[-1]['run']}")
    fixed = found["on_fixed_labels"]
    assert fixed["n"] == found["n"] == len(test)
    assert fixed["a"]["misread"] == found["a"]["misread"] - 3  # the labels that it read are right now
    assert "On the fixed labels" in page.inner_text(".training-result")
