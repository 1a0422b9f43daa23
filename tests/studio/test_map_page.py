"""The map in a real browser: what a lasso and a rectangle choose, and where the choice leads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

import misread
from misread import Run
from misread.studio.runs import run_id
from pointers import Pointers
from studios import until

Open = Callable[..., Any]

# the corners of a shape on the map, as shares of the canvas
SHAPE = [(0.3, 0.35), (0.55, 0.3), (0.48, 0.5), (0.6, 0.7), (0.38, 0.6)]


@pytest.fixture
def run(runs_folder: Path) -> Run:
    (found,) = [f for f in sorted(runs_folder.iterdir()) if "cnn" in f.name]
    return misread.open_run(found)


@pytest.fixture
def room(studio_page: Open, run: Run) -> Callable[..., Any]:
    def enter(state: str = "", **options: Any) -> Any:
        page = studio_page(f"room=map&run={run_id(run.folder)}{state}", **options)
        page.wait_for_selector(".map-over")
        until(page, "document.querySelectorAll('.map-legend button, .map-shares').length > 0")
        until(page, "document.querySelector('#run').options.length > 0")  # it moves what is below it
        return page

    return enter


def points_of(page: Any, run: Run) -> np.ndarray:
    script = """async id => [...new Float32Array(
        await (await fetch(`/api/runs/${id}/map/test/points?method=pca`)).arrayBuffer())]"""
    return np.array(page.evaluate(script, run_id(run.folder))).reshape(-1, 4)[:, :2]


def pixels_of_a_unit(page: Any, run: Run) -> float:
    """The scale of the whole map, fitted and centred."""
    box, largest = page.locator(".map-over").bounding_box(), np.abs(points_of(page, run)).max(axis=0)
    return float(0.93 * min(box["width"] / 2 / largest[0], box["height"] / 2 / largest[1]))


def places_on(page: Any, run: Run) -> np.ndarray:
    """Where each test image should be on the canvas, in shares of it, while the whole map is shown."""
    box, scale = page.locator(".map-over").bounding_box(), pixels_of_a_unit(page, run)
    return 0.5 + points_of(page, run) * scale * [1, -1] / [box["width"], box["height"]]


def inside(points: np.ndarray, shape: list[tuple[float, float]]) -> np.ndarray:
    """By the winding number, another rule than the page's; they agree on shapes that do not cross themselves."""
    angles = np.zeros(len(points))
    corners = np.array(shape)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        u, v = a - points, b - points
        angles += np.arctan2(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0], (u * v).sum(axis=1))
    return np.abs(angles) > np.pi


def rounded(page: Any, shape: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners at whole pixels of the canvas, as the mouse has them."""
    box = page.locator(".map-over").bounding_box()
    width, height = box["width"], box["height"]
    return [(round(x * width) / width, round(y * height) / height) for x, y in shape]


def drag(page: Any, shape: list[tuple[float, float]]) -> None:
    box = page.locator(".map-over").bounding_box()
    corners = [(box["x"] + round(x * box["width"]), box["y"] + round(y * box["height"])) for x, y in shape]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
    page.mouse.up()


def chosen(page: Any) -> list[int]:
    return sorted(
        page.eval_on_selector_all(".map-list tbody tr", "rows => rows.map(row => Number(row.cells[2].textContent))")
    )


@pytest.mark.parametrize("draw", [pytest.param("webgl", marks=pytest.mark.slow), "canvas"])
def test_lasso_chooses_exactly_the_images_inside(room: Any, run: Run, draw: str) -> None:
    # WebGL without a graphics card writes about its speed to the console
    page = room(f"&draw={draw}", quiet=draw == "canvas")
    page.keyboard.press("l")
    drag(page, SHAPE)
    expected = np.flatnonzero(inside(places_on(page, run), rounded(page, SHAPE)))
    assert 10 < len(expected) < 200
    assert chosen(page) == expected.tolist()
    assert page.inner_text("#map-chosen") == f"{len(expected)} images chosen"


def test_rectangle_leads_to_the_labels_of_its_images(room: Any, run: Run) -> None:
    page = room()
    page.keyboard.press("b")
    drag(page, [(0.35, 0.3), (0.6, 0.62)])
    places = places_on(page, run)
    low, high = rounded(page, [(0.35, 0.3), (0.6, 0.62)])
    expected = np.flatnonzero(((places > low) & (places < high)).all(axis=1))
    assert 3 < len(expected) < 200
    assert chosen(page) == expected.tolist()
    page.click("[data-check=test]")
    page.wait_for_selector("#tiles [data-item]")
    assert page.inner_text("#progress") == f"0 of {len(expected)} looked at"
    page.go_back()
    page.wait_for_selector(".map-over")


def test_the_map_is_chosen_from_without_a_pointer(room: Any, run: Run) -> None:
    page = room()
    page.locator(".map-legend button").nth(3).focus()
    page.keyboard.press("Enter")
    assert chosen(page) == np.flatnonzero(run.predictions().labels == 3).tolist()
    page.keyboard.press("Escape")
    assert chosen(page) == []
    page.focus(".map-over")
    for key in ("+", "+", "+", "ArrowLeft", "v"):
        page.keyboard.press(key)
    page.wait_for_timeout(100)
    n = int(page.inner_text("#map-chosen").split()[0])
    assert 0 < n < len(run.predictions())
    until(page, "location.hash.includes('view=')")
    again = room(page.url.partition("&run=")[2].partition("&")[1] + page.url.partition("&run=")[2].partition("&")[2])
    again.keyboard.press("v")
    assert int(again.inner_text("#map-chosen").split()[0]) == n  # a link leads to the same view


def test_close_up_the_pictures_are_those_of_the_images(room: Any, run: Run) -> None:
    page = room()
    places = places_on(page, run)
    apart = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(places))
    i = int(apart.min(axis=1).argmax())
    box = page.locator(".map-over").bounding_box()
    page.mouse.move(box["x"] + places[i, 0] * box["width"], box["y"] + places[i, 1] * box["height"])
    page.wait_for_selector(".map-tip canvas")
    read = page.evaluate("""() => { const canvas = document.querySelector(".map-tip canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [...data].filter((_, i) => i % 4 === 0) }""")
    assert np.array_equal(np.array(read).reshape(28, 28), run.data.test.images[i, ..., 0])
    assert f"test {i}" in page.inner_text(".map-tip")


@pytest.mark.slow
def test_colours_and_splits(room: Any, run: Run) -> None:
    page = room("&split=all&method=tsne&colour=cause")
    n = run.record.data.n_train + run.record.data.n_test
    until(page, f"document.querySelector('#map-state').textContent.startsWith('{n:,} images')")
    causes = run.misreads.explain().table["cause"].value_counts()
    until(page, f"document.querySelectorAll('.map-legend button').length === {len(causes) + 1}")
    page.select_option("#map-split", "test")
    until(page, f"document.querySelector('#map-state').textContent.startsWith('{run.record.data.n_test}')")
    page.select_option("#map-colour", "confidence")
    page.wait_for_selector(".map-shares")
    page.select_option("#map-show", "misread")
    page.keyboard.press("0")
    page.keyboard.press("v")
    assert chosen(page) == sorted(run.predictions().misread_positions.tolist())


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark")])
def test_nothing_is_wider_than_the_window(room: Any, lang: str, width: int, theme: str) -> None:
    page = room(width=width, theme=theme, lang=lang)
    page.keyboard.press("v")
    page.wait_for_selector(".map-list tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_two_fingers_move_and_zoom_about_the_place_between_them(room: Any, run: Run) -> None:
    page = room(has_touch=True)
    page.keyboard.press("l")  # also with the lasso in hand, which then chooses nothing
    box = page.locator(".map-over").bounding_box()
    scale = pixels_of_a_unit(page, run)
    x, y = box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"]
    Pointers(page).pinch(((x - 40, y), (x + 40, y)), ((x - 50, y), (x + 110, y)))  # the middle goes 30 to the right
    until(page, "location.hash.includes('view=')")
    assert chosen(page) == []
    view = [float(part) for part in unquote(page.url).partition("view=")[2].partition("&")[0].split(",")]
    dx, dy = -0.2 * box["width"], -0.1 * box["height"]  # from the centre of the map to the fingers
    assert view == pytest.approx([(dx - (dx + 30) / 2) / scale, -(dy - dy / 2) / scale, 2], abs=0.01)


def test_a_finger_that_taps_an_image_shows_it_and_one_that_moves_does_not(room: Any, run: Run) -> None:
    page = room(has_touch=True)
    places = places_on(page, run)
    apart = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(places))
    i = int(apart.min(axis=1).argmax())
    box = page.locator(".map-over").bounding_box()
    x, y = box["x"] + places[i, 0] * box["width"], box["y"] + places[i, 1] * box["height"]
    fingers = Pointers(page)
    fingers.down((x, y))
    fingers.up()
    page.wait_for_selector(".map-tip canvas")
    assert f"test {i}" in page.inner_text(".map-tip")
    fingers.down((x, y))
    fingers.move((x + 60, y))
    fingers.up()
    assert page.is_hidden(".map-tip")
    until(page, "location.hash.includes('room=map')")


def test_a_pen_draws_a_lasso(room: Any, run: Run) -> None:
    page = room()
    page.keyboard.press("l")
    box = page.locator(".map-over").bounding_box()
    corners = [(box["x"] + round(x * box["width"]), box["y"] + round(y * box["height"])) for x, y in SHAPE]
    Pointers(page).pen(*corners)
    assert chosen(page) == np.flatnonzero(inside(places_on(page, run), rounded(page, SHAPE))).tolist()
