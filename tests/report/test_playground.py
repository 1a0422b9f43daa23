"""The rooms Draw and Look inside in a report, opened from a file, without any network."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread import Run
from misread.errors import RunError
from misread.report.playground import smallest_model
from samples import Result


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return misread.train("digits", "fast", epochs=20, out=tmp_path_factory.mktemp("playground"), progress=False)


@pytest.fixture(scope="module")
def report(run: Run) -> Path:
    return run.report(causes=False, playground=True)


def stroke(page: Any, *points: tuple[float, float]) -> None:
    """Draws through points, given as shares of the paper's sides."""
    box = page.locator("canvas.paper").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_a_drawn_seven_is_read_without_a_network(report: Path, visit: Any) -> None:
    page = visit(report)
    page.context.set_offline(True)
    page.get_by_role("link", name="Draw", exact=True).click()
    page.locator("canvas.paper").wait_for()
    assert page.locator("#main").is_hidden()
    stroke(page, (0.28, 0.25), (0.7, 0.25), (0.42, 0.8))
    reading = page.locator("#room-draw .reading")
    page.wait_for_function("() => /\\d/.test(document.querySelector('#room-draw .reading').textContent)")
    assert re.search(r"7", reading.inner_text())
    page.get_by_role("link", name="Confusion").click()
    assert page.locator("#main").is_visible()
    assert page.locator("#playground").is_hidden()
    assert page.evaluate("document.getElementById('confusion').getBoundingClientRect().top < innerHeight")


def test_look_inside_shows_the_embedded_images(report: Path, run: Run, visit: Any) -> None:
    page = visit(report)
    page.context.set_offline(True)
    page.evaluate("location.hash = '#room=inside&split=test&row=0'")
    page.locator("#room-inside .stages canvas").first.wait_for()
    first = run.predictions().misread_positions[0]  # the most confident mistake comes first
    embedded = page.evaluate("() => JSON.parse(document.getElementById('data').textContent).playground")
    assert embedded["rows"][0] == run.predictions().rows[first]
    assert len(embedded["labels"]) == min(48, len(run.predictions().misread_positions)) + 24


def test_both_languages_are_in_the_page(report: Path, visit: Any) -> None:
    page = visit(report)
    texts = page.evaluate("() => JSON.parse(document.getElementById('data').textContent).playground.texts")
    assert texts["en"].keys() == texts["ko"].keys()
    assert any(re.search("[가-힣]", text) for text in texts["ko"].values())


def test_the_page_says_what_the_rounding_of_the_weights_changes(report: Path) -> None:
    assert re.search(r"weights as float16: of 200 test images \d+ are read otherwise", report.read_text())


def test_a_report_without_a_playground_has_neither_rooms_nor_network(run: Run, tmp_path: Path) -> None:
    text = run.report(tmp_path / "plain.html", causes=False).read_text()
    assert "playground" not in text.replace("playground/playground.js", "")


def test_a_large_network_is_rounded_to_int8() -> None:
    rng = np.random.default_rng(0)
    asked: list[str] = []

    def model_file(precision: str) -> bytes:
        asked.append(precision)
        return rng.bytes(1_600_000 if precision == "float16" else 800_000)

    assert len(smallest_model(model_file)) == 800_000
    assert asked == ["float16", "int8"]


def test_a_playground_needs_a_run(cli: Any, tmp_path: Path) -> None:
    result: Result = cli(
        "report",
        "--playground",
        "--labels",
        tmp_path / "l.npy",
        "--probs",
        tmp_path / "p.npy",
        "--out",
        tmp_path / "x.html",
    )
    assert result.code == 2
    assert "--playground needs a run's network, and so needs RUN." in result.err


def test_a_network_from_python_has_no_playground(tmp_path: Path) -> None:
    from torch import nn

    run = misread.train(
        "digits",
        "tutorial-mlp",
        network=nn.Sequential(nn.Flatten(), nn.Linear(784, 10)),
        epochs=1,
        out=tmp_path,
        progress=False,
    )
    with pytest.raises(RunError, match="cannot run in the page"):
        run.report(causes=False, playground=True)
