"""The frame of the studio in a real browser."""

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_process import Studio, start_studio

Open = Callable[..., Any]
WATCH = 5_000  # ms between two questions of a page whether the server is there


def own_clock(page: Any) -> None:
    """Opens the page again with a clock that can be put forward."""
    page.clock.install()
    page.reload()


def nav(page: Any) -> list[str]:
    return page.locator("#rooms a").all_inner_texts()


def test_page_opens_without_its_token_in_the_address(studio_page: Open) -> None:
    page = studio_page("room=runs")
    assert "token" not in page.url
    page.reload()
    page.wait_for_selector("#runs-table")


def test_back_and_forward_go_through_rooms_and_runs(studio_page: Open) -> None:
    page = studio_page("room=runs")
    page.wait_for_selector("#runs-table")
    first = page.input_value("#run")
    second = page.locator("#run option").nth(1).get_attribute("value")
    page.select_option("#run", second)
    page.wait_for_selector(f"tr.selected[data-run='{second}']")
    page.click("#rooms a >> nth=0")
    page.wait_for_selector("#room-draw")
    assert page.input_value("#run") == second
    page.go_back()
    page.wait_for_selector(f"#room-runs tr.selected[data-run='{second}']")
    page.go_back()
    page.wait_for_selector(f"#room-runs tr.selected[data-run='{first}']")
    page.go_forward()
    page.wait_for_selector(f"#room-runs tr.selected[data-run='{second}']")
    page.reload()
    page.wait_for_selector(f"#room-runs tr.selected[data-run='{second}']")


def test_language_switch_keeps_the_place_and_is_remembered(studio_page: Open) -> None:
    page = studio_page("room=runs")
    page.wait_for_selector("#runs-table")
    page.click("#language")
    page.wait_for_selector("html[lang=ko] #runs-table")
    assert "실행" in nav(page)
    assert "#room=runs" in page.url
    page.goto(page.url.partition("?")[0])
    page.wait_for_selector("html[lang=ko] #main section")
    page.click("#language")
    page.wait_for_selector("html[lang=en] #main section")


def test_theme_button_changes_the_colours_and_is_remembered(studio_page: Open) -> None:
    page = studio_page("room=runs")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    page.wait_for_selector("#main section")
    assert page.evaluate(ground) == dark


def test_question_mark_lists_the_keys_and_keys_work(studio_page: Open) -> None:
    page = studio_page("room=runs")
    page.wait_for_selector("#runs-table")
    page.keyboard.press("?")
    assert "Filter the runs" in page.inner_text("dialog.keys")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    page.keyboard.press("/")
    page.keyboard.type("?c/")  # into the field: no shortcut
    assert page.input_value("#runs-search") == "?c/"
    assert page.locator("dialog").count() == 0


def test_every_control_of_the_bar_is_reached_by_tab_and_has_a_name(studio_page: Open) -> None:
    page = studio_page("room=runs")
    page.wait_for_selector("#runs-table")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert reached[0] == "skip"
    assert {"run", "language", "theme", "keys"} <= set(reached)
    for id in ("run", "language", "theme", "keys"):
        assert page.evaluate("id => (e => e.ariaLabel || e.textContent)(document.getElementById(id)).trim()", id)


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("width", [390, 1280, 2000])
def test_nothing_is_wider_than_the_window(studio_page: Open, width: int, lang: str) -> None:
    page = studio_page("room=runs", width=width, lang=lang)
    page.wait_for_selector("#runs-table")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_run_that_is_not_there_says_so_and_leads_on(studio_page: Open) -> None:
    page = studio_page("room=draw&run=0000", quiet=False)
    page.wait_for_selector(".empty")
    assert "no longer there" in page.inner_text(".empty")
    page.click(".empty button >> nth=1")
    page.wait_for_selector("#runs-table")


def test_without_a_run_the_page_says_what_to_do(pages: Open, tmp_path: Path) -> None:
    studio = start_studio(tmp_path / "runs")
    try:
        page = pages(studio, "room=draw", quiet=False)  # it is open when the studio stops
        page.wait_for_selector(".empty")
        assert "misread train mnist" in page.inner_text(".empty")
        page.click(".empty button")
        page.wait_for_selector("#room-train")
        pages(studio, quiet=False).wait_for_selector("#room-runs .empty")
    finally:
        studio.stop()


def test_page_says_that_the_server_is_gone_and_continues_when_it_is_back(pages: Open, runs_folder: Path) -> None:
    studio = start_studio(runs_folder)
    port = re.findall(r":(\d+)/", studio.url)[0]
    page, other = (pages(studio, "room=runs", quiet=False) for _ in range(2))
    for one in (page, other):
        own_clock(one)
        one.wait_for_selector("#runs-table")
    studio.stop(signal.SIGKILL)
    for one in (page, other):
        one.clock.fast_forward(WATCH)
        one.wait_for_selector("#offline:not([hidden])")
        assert "does not answer" in one.inner_text("#offline")
    page.click("#rooms a >> nth=0")
    page.wait_for_selector(".empty >> text=does not answer")
    again = start_studio(runs_folder, "--port", port)
    try:
        assert again.url == studio.url
        for one in (page, other):
            one.wait_for_selector("#offline", state="hidden")
        page.wait_for_selector("#room-draw .empty", state="detached")
        other.reload()
        other.wait_for_selector("#runs-table")
    finally:
        again.stop()


def test_stopped_by_ctrl_c_with_an_open_page_it_ends_well(pages: Open, runs_folder: Path) -> None:
    studio: Studio = start_studio(runs_folder)
    pages(studio, "room=runs", quiet=False).wait_for_selector("#runs-table")
    assert studio.stop(signal.SIGINT) == 0


def test_watching_the_server_keeps_no_connection(studio_page: Open) -> None:
    page, asked = studio_page("room=runs"), []
    own_clock(page)
    page.wait_for_selector("#runs-table")
    page.on("request", lambda request: asked.append(request.url))
    for times in (1, 2, 3):
        with page.expect_event("requestfinished", lambda request: request.url.endswith("/api/alive")):
            page.clock.fast_forward(WATCH)
        assert len([url for url in asked if url.endswith("/api/alive")]) == times


@pytest.mark.parametrize(("lang", "again"), [("en", "Try again"), ("ko", "다시 시도")])
def test_a_page_that_cannot_start_says_why_and_tries_again(browser: Any, studio: Studio, lang: str, again: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.route("**/api/state", lambda route: route.fulfill(status=500, json={"error": "The disk is full."}))
    page.goto(f"{studio.url}&lang={lang}#room=runs")
    page.wait_for_selector("#try-again")
    assert page.inner_text("#try-again") == again
    assert "The disk is full." in page.inner_text("[role=alert] h1 + p")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.unroute("**/api/state")
    page.route("**/messages/*", lambda route: route.abort())
    page.click("#try-again")
    page.wait_for_selector("#try-again")
    page.unroute("**/messages/*")
    page.click("#try-again")
    page.wait_for_selector("#runs-table")
    context.close()
