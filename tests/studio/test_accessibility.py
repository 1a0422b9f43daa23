"""Every room under an accessibility checker."""

from collections.abc import Callable
from typing import Any

import pytest
from axe import serious_violations

Open = Callable[..., Any]
ROOMS = {  # what each shows when it has all that it asked for
    "draw": "canvas.paper",
    "train": "#train-data option",
    "inside": ".inside-top .best",
    "misreads": "#tiles [data-item]",
    "map": ".map-legend button",
    "lesson": ".stage .results",
    "runs": "#runs-table",
}
# rooms that stay connected are never idle
UNCHANGED = """() => new Promise((done) => {
    let timer;
    const wait = () => { clearTimeout(timer); timer = setTimeout(done, 200); };
    new MutationObserver(wait).observe(document, { subtree: true, childList: true, attributes: true });
    wait(); })"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("room", ROOMS)
def test_room_has_no_serious_violation(studio_page: Open, room: str, theme: str) -> None:
    page = studio_page(f"room={room}", theme=theme, width=390 if theme == "dark" else 1280)
    page.wait_for_selector(ROOMS[room], state="attached", timeout=240_000)  # the first one waits for torch
    page.evaluate(UNCHANGED)
    assert serious_violations(page) == []


def test_a_planted_violation_is_found(studio_page: Open) -> None:
    page = studio_page("room=runs")
    page.evaluate("document.getElementById('main').append(document.createElement('button'))")
    assert any(line.startswith("button-name") for line in serious_violations(page))
