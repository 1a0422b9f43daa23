"""The room Runs in a real browser: every control, and that it shows what the library says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import misread
from misread.studio.runs import run_id
from studio_process import Studio

Open = Callable[..., Any]
Room = Callable[..., Any]


@pytest.fixture
def room(studio_page: Open) -> Room:
    def open_room(state: str = "", **options: Any) -> Any:
        page = studio_page(f"room=runs{state}", **options)
        page.wait_for_selector("#runs-table")
        return page

    return open_room


def ids(page: Any) -> list[str]:
    return page.eval_on_selector_all("#runs-table tbody tr", "rows => rows.map(row => row.dataset.run)")


def folders(studio: Studio) -> list[Path]:
    return sorted(path for path in studio.folder.iterdir() if not path.name.startswith("."))


def test_columns_sort_both_ways_and_the_address_keeps_it(room: Room, studio: Studio) -> None:
    runs = {run_id(path): misread.open_run(path).record for path in folders(studio)}
    values = {
        "accuracy": lambda r: r.metrics["test"]["accuracy"], "misread": lambda r: r.metrics["test"]["misread"],
        "seconds": lambda r: r.timing.fit_seconds,
    }  # fmt: skip
    page = room()
    for column, value in values.items():
        for sign, arrow in ((-1, "descending"), (1, "ascending")):
            page.click(f"[data-focus=sort-{column}]")
            page.wait_for_selector(f"th[aria-sort={arrow}] [data-focus=sort-{column}]")
            shown = [sign * value(runs[id]) for id in ids(page)]
            assert shown == sorted(shown)
            assert len(shown) == len(runs)
    before = ids(page)
    page.reload()
    page.wait_for_selector("#runs-table")
    assert ids(page) == before


def test_filter_keeps_the_runs_with_all_words(room: Room, studio: Studio) -> None:
    page = room()
    page.fill("#runs-search", "mlp DIGITS")
    page.wait_for_function("document.querySelectorAll('#runs-table tbody tr').length === 1")
    found = misread.open_run(studio.folder / page.inner_text("#runs-table tbody th small").split(" · ")[-1]).record
    assert (found.recipe, found.data.name) == ("tutorial-mlp", "digits")
    page.fill("#runs-search", "nothing like it")
    page.wait_for_function("document.querySelectorAll('#runs-table tbody tr').length === 0")
    page.fill("#runs-search", "")
    page.wait_for_function("document.querySelectorAll('#runs-table tbody tr').length === 4")


def test_names_and_notes_with_html_are_shown_as_text(room: Room, studio: Studio) -> None:
    page, text = room(), '<img src=x onerror="alert(1)"></script>'
    id = ids(page)[0]
    page.click(f"[data-focus='runs.rename-{id}']")
    page.fill("#ask-text", text)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"tr[data-run='{id}'] a[aria-current] >> text=<img src=x")
    page.click(f"[data-focus='runs.note-{id}']")
    page.fill("#ask-text", text + "\n둘째 줄")
    page.click("dialog button.main")
    page.wait_for_selector(".run-note")
    assert page.inner_text(".run-note") == text + "\n둘째 줄"
    assert page.locator("#main img").count() == 0
    page.wait_for_selector(f"#run option[value='{id}'] >> text=<img src=x", state="attached")
    path = next(path for path in folders(studio) if run_id(path) == id)
    assert json.loads((path / "notes.json").read_text())["title"] == text
    page.click(f"[data-focus='runs.rename-{id}']")
    page.fill("#ask-text", "not saved")
    page.click("#ask-cancel")
    page.wait_for_selector("dialog", state="detached")
    page.click(f"[data-focus='runs.rename-{id}']")
    assert page.input_value("#ask-text") == text
    page.fill("#ask-text", "")
    page.click("dialog button.main")
    page.wait_for_selector("dialog", state="detached")
    page.wait_for_selector(f"tr[data-run='{id}'] th a >> text={misread.open_run(path).record.recipe}, digits")


def test_delete_and_undo_and_restore(room: Room, studio: Studio) -> None:
    page = room()
    id = ids(page)[1]
    path = next(path for path in folders(studio) if run_id(path) == id)
    page.click(f"[data-focus='runs.delete-{id}']")
    page.wait_for_selector(f"tr[data-run='{id}']", state="detached")
    assert not path.exists()
    page.click(".toast button >> text=Undo")
    page.wait_for_selector(f"tr[data-run='{id}']")
    assert path.is_dir()
    page.click(f"[data-focus='runs.delete-{id}']")
    page.wait_for_selector(".trash:not([hidden])")
    page.click(".trash summary")
    page.click(".trash button")
    page.wait_for_selector(f"tr[data-run='{id}']")
    assert path.is_dir()


def test_deleting_the_selected_run_selects_another(room: Room) -> None:
    page = room()
    id = ids(page)[0]
    page.click(f"[data-focus='name-{id}']")
    page.wait_for_selector(f"tr.selected[data-run='{id}']")
    page.click(f"[data-focus='runs.delete-{id}']")
    page.wait_for_selector(f"tr[data-run='{id}']", state="detached")
    page.click(".toast button >> text=Undo")
    page.wait_for_selector(f"tr[data-run='{id}']")


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_comparison_shows_the_numbers_and_pictures_of_the_library(room: Room, studio: Studio, lang: str) -> None:
    page = room(lang=lang)
    a, b = folders(studio)[:2]
    expected = misread.compare(a, b)
    assert page.is_disabled("#runs-compare")
    for path in (b, a):
        page.check(f"[data-focus='check-{run_id(path)}']")
    page.click("#runs-compare")
    page.wait_for_selector("#runs-comparison .figures")
    numbers = [int(text) for text in page.locator("#runs-comparison .figures strong").all_inner_texts()]
    assert numbers == [expected.n_fixed, expected.n_broken, expected.n_both_wrong]
    kinds = page.locator("#runs-comparison .changed")
    page.wait_for_function(
        "n => document.querySelectorAll('#runs-comparison canvas').length === n",
        arg=min(48, expected.n_fixed) + min(48, expected.n_broken),
    )
    for kind, n in ((0, expected.n_fixed), (1, expected.n_broken)):
        more = kinds.nth(kind).locator("button.more")
        while more.is_visible():
            before = kinds.nth(kind).locator("canvas").count()
            more.click()
            page.wait_for_timeout(100)
            assert kinds.nth(kind).locator("canvas").count() >= before
        assert kinds.nth(kind).locator("canvas").count() == n
    drawn = page.evaluate(
        """() => {
            const red = ({ width, height }, context) =>
                [...context.getImageData(0, 0, width, height).data].filter((_, i) => i % 4 === 0);
            const parts = [...document.querySelectorAll("#runs-comparison .changed")];
            return parts.map(part => [...part.querySelectorAll("canvas")].map(c => red(c, c.getContext("2d")))) }"""
    )
    images = misread.open_run(a).split("test").images
    for pictures, table in zip(drawn, (expected.fixed, expected.broken), strict=True):
        assert pictures == [images[row, ..., 0].ravel().tolist() for row in table["index"]]
    page.reload()
    page.wait_for_selector("#runs-comparison .figures")
    page.click("#runs-comparison .comparison-head button")
    page.wait_for_selector("#runs-comparison .figures", state="detached")


def test_runs_of_different_data_cannot_be_compared_and_it_says_why(room: Room, studio: Studio) -> None:
    one, _, other = (run_id(path) for path in folders(studio)[:3])
    page = room(f"&a={one}&b={other}", quiet=False)
    page.wait_for_selector("#runs-comparison .note")
    assert "Two models are compared on the same images" in page.inner_text("#runs-comparison .note")


@pytest.mark.parametrize("lang", ["en", pytest.param("ko", marks=pytest.mark.slow)])
def test_report_opens_in_a_tab_of_its_own(room: Room, studio: Studio, lang: str) -> None:
    page = room(lang=lang)
    id = run_id(folders(studio)[0])
    with page.context.expect_page(timeout=120_000) as opened:
        page.click(f"tr[data-run='{id}'] .actions a")
    report = opened.value
    faults: list[str] = []
    report.on("console", lambda message: faults.append(message.text))
    report.wait_for_selector("#gallery #tiles img", timeout=120_000)
    assert report.url == f"{studio.origin}/reports/{id}?lang={lang}"
    assert report.get_attribute("html", "lang") == lang
    report.select_option("#sort", "index")
    assert faults == []


def test_a_new_run_appears_by_itself(room: Room, studio: Studio) -> None:
    import shutil

    page = room()
    new = studio.folder / "20990101-000000-copied"
    shutil.copytree(folders(studio)[0], new)
    try:
        page.wait_for_selector(f"tr[data-run='{run_id(new)}']")
    finally:
        shutil.rmtree(new)
    page.wait_for_selector(f"tr[data-run='{run_id(new)}']", state="detached")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_every_control_is_in_the_window(room: Room, theme: str) -> None:
    page = room(width=390, theme=theme)
    boxes = [
        control.bounding_box() for control in page.locator("#room-runs button:visible, #room-runs a:visible").all()
    ]
    assert boxes
    for box in boxes:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
