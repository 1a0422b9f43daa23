"""The room of misread images in a real browser: filters, decisions by keyboard into a patch, undo, and two pages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import misread
from misread import Run
from misread.data.label_decisions import decisions
from misread.data.label_patch import read_patch
from misread.studio.label_routes import patch_file
from misread.studio.runs import run_id
from studios import until

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def run(runs_folder: Path) -> Run:
    """The MLP on digits. It is found before a test begins to train another one."""
    (found,) = [
        f for f in sorted(runs_folder.iterdir()) if "mlp" in f.name and misread.open_run(f).record.data.name == "digits"
    ]
    return misread.open_run(found)


@pytest.fixture
def patch(run: Run) -> Path:
    path = patch_file(run.folder.parent, run.record)
    path.unlink(missing_ok=True)
    return path


@pytest.fixture
def room(studio_page: Open, run: Run) -> Callable[..., Any]:
    def enter(state: str = "", **options: Any) -> Any:
        page = studio_page(f"room=misreads&run={run_id(run.folder)}{state}", **options)
        page.wait_for_selector("#tiles [data-item]", timeout=240_000)  # the first page waits for torch
        return page

    return enter


def title(page: Any) -> str:
    return str(page.inner_text(".triage h2"))


def shown(page: Any) -> list[str]:
    return list(page.eval_on_selector_all("#tiles .caption", "all => all.map(one => one.textContent)"))


def counted(page: Any) -> int:
    """How many images the page says it shows. Those far from the window have no tile."""
    return int(page.inner_text("#count").split()[0])


def lines(path: Path, count: int, page: Any) -> list[dict[str, str]]:
    """The lines of the patch, as soon as there are so many."""
    for _ in range(400):
        found = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        if len(found) >= count:
            break
        page.wait_for_timeout(25)
    assert len(found) == count
    return [json.loads(line) for line in found]


def test_triage_by_keys_makes_a_patch_that_training_takes(room: Any, run: Run, patch: Path, cli: Any) -> None:
    page, found = room(), run.predictions()
    order = found.misread_positions[:4]
    labels = found.labels[order]
    assert title(page) == f"Labelled {labels[0]}, read as {found.predicted[order[0]]}"
    new = (labels[0] + 1) % 10
    for key in (str(new), "a", "m", "s"):
        page.keyboard.press(key)
    hashes = found.misreads.table["hash"].tolist()
    written = lines(patch, 4, page)
    assert [line["image"] for line in written] == hashes[:4]
    assert [line["new"] for line in written] == [str(new), *map(str, labels[1:])]
    assert [line.get("decision", "") for line in written] == ["", "ambiguous", "kept", "skipped"]
    assert page.inner_text("#progress") == f"4 of {len(hashes)} looked at"
    assert page.inner_text("#train-again") == "Train again with my fix"
    assert "1 active" in cli("labels", "show", patch).out
    again = misread.train("digits", "tutorial-mlp", epochs=1, label_patch=patch, out=patch.parent / "x", progress=False)
    assert again.record.label_patch is not None
    assert again.record.label_patch.changed["test"] == 1
    page.click("#train-again")
    until(page, "location.hash.includes('room=train') && location.hash.includes('training=')")


def test_undo_and_redo(room: Any, run: Run, patch: Path) -> None:
    page = room()
    first = title(page)
    page.keyboard.press("a")
    page.keyboard.press("m")
    page.keyboard.press("u")
    page.keyboard.press("Control+z")
    lines(patch, 4, page)
    assert {made.kind for made in decisions(read_patch(patch)).values()} == {""}
    assert title(page) == first
    assert page.inner_text("#progress").startswith("0 of")
    assert page.is_disabled("#undo")
    page.click("#redo")
    lines(patch, 5, page)
    assert [made.kind for made in decisions(read_patch(patch)).values()] == ["ambiguous", ""]


def test_two_pages_lose_nothing_and_see_each_other(room: Any, run: Run, patch: Path) -> None:
    one, two = room(), room("&sort=confidence-up")
    one.keyboard.press("a")
    until(two, "document.querySelector('#progress').textContent.startsWith('1 of')")
    two.keyboard.press("m")
    until(one, "document.querySelector('#progress').textContent.startsWith('2 of')")
    assert sorted(made.kind for made in decisions(read_patch(patch)).values()) == ["ambiguous", "kept"]
    assert one.inner_text("#progress") == two.inner_text("#progress")


def test_reload_in_the_middle_keeps_decisions_and_place(room: Any, run: Run, patch: Path) -> None:
    page = room()
    page.keyboard.press("a")
    lines(patch, 1, page)
    second = title(page)
    page.reload()
    page.wait_for_selector("#tiles [data-item]")
    until(page, "document.querySelector('#progress').textContent.startsWith('1 of')")
    assert title(page) == second
    assert page.locator("#tiles .mark").count() == 1


def test_filters_keep_the_images_asked_for(room: Any, run: Run, patch: Path) -> None:
    page, found = room(), run.predictions()
    until(page, "document.querySelector('#causes-state').textContent === ''")
    label, predicted = found.labels[found.misread], found.predicted[found.misread]
    k = int(np.bincount(label).argmax())
    page.select_option("#by-label", str(k))
    assert counted(page) == (label == k).sum()
    assert {caption.partition("→")[0] for caption in shown(page)} == {str(k)}
    pair = f"{k} {np.bincount(predicted[label == k]).argmax()}"
    page.select_option("#by-pair", pair)
    assert set(shown(page)) == {pair.replace(" ", "→ ")}
    assert counted(page) == ((label == k) & (predicted == int(pair.split()[1]))).sum()
    page.click("#all")
    until(page, f"document.querySelector('#count').textContent.startsWith('{len(label)} of')")
    page.keyboard.press("Escape")
    page.locator(".triage-bar button").last.focus()
    page.keyboard.press("a")
    page.select_option("#by-decision", "ambiguous")
    assert counted(page) == len(shown(page)) == 1
    page.select_option("#by-decision", "none")
    assert counted(page) == len(label) - 1
    causes = run.misreads.explain().table["cause"].value_counts()
    page.select_option("#by-decision", "")
    for cause, n in causes.items():
        page.select_option("#by-cause", str(cause))
        assert counted(page) == n


def test_doubtful_labels_and_chosen_images_are_lists_too(room: Any, run: Run, patch: Path) -> None:
    page = room("&list=doubtful")
    assert title(page).startswith(f"Labelled {run.label_issues()['label'].iloc[0]},")
    page = room("&list=chosen&rows=3.1-1")  # 3, 5, 6
    labels, predicted = run.predictions().labels[[3, 5, 6]], run.predictions().predicted[[3, 5, 6]]
    assert sorted(shown(page)) == sorted(f"{a}→ {b}" for a, b in zip(labels, predicted, strict=True))
    page.keyboard.press("m")
    (line,) = lines(patch, 1, page)
    assert line["decision"] == "kept"


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_nothing_is_wider_than_the_window(room: Any, patch: Path, lang: str, width: int, theme: str) -> None:
    page = room(width=width, theme=theme, lang=lang)
    until(page, "document.querySelector('#causes-state').textContent === ''")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
