"""The gallery of a report in a real browser: filters, search, counts, links, and that no image is missing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from misread import Predictions, Run
from pages import NAMES, counts_of, drawn, foreign, pixels, tiles
from samples import blocks

Open = Callable[..., Any]


def test_gallery_shows_every_misread_image_and_its_pixels(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    found = runs[0].predictions()
    page = visit(whole)
    shown = tiles(page)
    assert sorted(shown) == np.flatnonzero(found.probs.argmax(axis=1) != found.labels).tolist()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    sources = page.eval_on_selector_all("#tiles img", "images => images.map(image => image.src)")
    images = blocks(160, seed=1)[0]
    for row, source in zip(shown, sources, strict=True):
        assert np.array_equal(pixels(source), images[row, ..., 0])


def test_filters_keep_exactly_the_images_asked_for(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    found = runs[0].predictions()
    labels, predicted = found.labels, found.probs.argmax(axis=1)
    page = visit(whole)
    for k in range(4):
        for j in range(4):
            expected = np.flatnonzero((labels == k) & (predicted == j) & (labels != predicted)).tolist()
            offered = [page.locator(f"#by-{name} option[value='{v}']").count()
                       for name, v in (("label", k), ("prediction", j))]  # fmt: skip
            if offered == [1, 1]:
                page.select_option("#by-label", str(k))
                page.select_option("#by-prediction", str(j))
                assert sorted(tiles(page)) == expected
                assert page.inner_text("#count").startswith(f"{len(expected)} of ")
            else:
                assert expected == []
    page.click("#all")
    page.evaluate("() => new Promise(done => setTimeout(done, 20))")  # a form resets its fields after the event
    assert sorted(tiles(page)) == np.flatnonzero(labels != predicted).tolist()
    causes = runs[0].misreads.explain().table
    for cause, group in causes.groupby("cause"):
        page.select_option("#by-cause", str(cause))
        assert sorted(tiles(page)) == sorted(group["index"])
        page.click(f"#cause-list [data-cause='{cause}']")  # the same from the top of the page
        assert sorted(tiles(page)) == sorted(group["index"])


@pytest.mark.parametrize("key", ["confidence", "loss", "margin"])
def test_sorting_is_by_what_it_says(visit: Open, whole: Path, runs: tuple[Run, Run], key: str) -> None:
    probs, labels = runs[0].predictions().probs.astype(float), runs[0].predictions().labels
    of_label = probs[np.arange(160), labels]
    values = {"confidence": probs.max(axis=1), "loss": -np.log(of_label), "margin": probs.max(axis=1) - of_label}[key]
    page = visit(whole)
    for order, sign in ((key, -1), (f"{key}-up", 1)):
        page.select_option("#sort", order)
        assert (np.diff(sign * values[tiles(page)]) >= -1e-5).all()
    page.select_option("#sort", "index")
    assert tiles(page) == sorted(tiles(page))


def test_only_what_is_in_sight_is_drawn_and_scrolling_shows_every_image(visit: Open, many: Path) -> None:
    found = foreign(1000, 10)
    wrong = np.flatnonzero(found.probs.argmax(axis=1) != found.labels)
    assert len(wrong) > 500
    page = visit(many)
    in_order = tiles(page)
    assert sorted(in_order) == wrong.tolist()
    seen: set[int] = set()
    page.evaluate("document.getElementById('gallery').scrollIntoView()")
    bottom = -1
    while page.evaluate("scrollY") != bottom:
        bottom = page.evaluate("scrollY")
        now = drawn(page)
        assert len(now) < 300
        first = in_order.index(now[0])
        assert now == in_order[first : first + len(now)]
        seen |= set(now)
        page.evaluate("() => { scrollBy(0, 700); return new Promise(done => requestAnimationFrame(() => done())) }")
    assert seen == set(wrong.tolist())


@pytest.mark.slow
def test_ten_thousand_images_are_all_there(visit: Open, folder: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(10_000) % 10
    probs = rng.uniform(0.1, 1, (10_000, 10)).astype(np.float32)
    probs[np.arange(10_000), labels] = 0.01
    images = np.repeat(np.repeat(rng.integers(0, 256, (10_000, 2, 2, 3), dtype=np.uint8), 4, axis=1), 4, axis=2)
    found = Predictions(labels, probs / probs.sum(axis=1, keepdims=True), images=images, name="all wrong")
    page = visit(found.report(folder / "ten-thousand.html"))
    assert page.inner_text("#misread-count") == "10,000"
    assert page.inner_text("#count") == "10,000 of 10,000 misread images"
    assert sorted(tiles(page)) == list(range(10_000))
    assert len(drawn(page)) < 300
    page.locator("#tiles button").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.closest('li').ariaPosInSet") == "10000"
    assert page.evaluate("document.activeElement.querySelector('img').decode().then(() => true)")
    assert len(drawn(page)) < 300


def test_gallery_moves_by_arrow_keys_and_keeps_the_focus(visit: Open, many: Path) -> None:
    page = visit(many)
    order = tiles(page)
    index = """() => JSON.parse(document.getElementById("data").textContent)
        .items.index[document.activeElement.dataset.item]"""
    columns = len(page.evaluate("getComputedStyle(tiles).gridTemplateColumns").split())
    page.locator("#tiles button").first.focus()
    at = 0
    for key, by in (("ArrowRight", 1), ("ArrowDown", columns), ("ArrowLeft", -1), ("ArrowUp", -columns)):
        page.keyboard.press(key)
        at += by
        assert page.evaluate(index) == order[at]
        page.keyboard.press("ArrowDown")
        at += columns
    page.keyboard.press("End")
    assert page.evaluate(index) == order[-1]
    page.evaluate("scrollTo(0, 0)")  # out of sight, it still has the focus
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
    assert page.evaluate(index) == order[-1]
    page.keyboard.press("Home")
    assert page.evaluate(index) == order[0]
    page.keyboard.press("ArrowLeft")  # there is none before
    assert page.evaluate(index) == order[0]
    page.keyboard.press("Tab")
    assert page.evaluate(index) == order[1]


def test_counts_of_causes_and_pairs_are_those_of_the_tables(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    table = runs[0].misreads.explain().table
    page = visit(whole)
    pair = table["label"] + " → " + table["prediction"]
    for name, column in (("label", table["label"]), ("prediction", table["prediction"]), ("pair", pair)):
        assert counts_of(page, name) == column.value_counts().to_dict()
    assert counts_of(page, "cause") == table["cause"].value_counts().to_dict()
    listed = list(counts_of(page, "pair").values())
    assert listed == sorted(listed, reverse=True)
    for cause, group in table.groupby("cause"):
        page.select_option("#by-cause", str(cause))
        chosen = pair[group.index].value_counts()
        assert {name: n for name, n in counts_of(page, "pair").items() if n} == chosen.to_dict()
        assert counts_of(page, "cause") == table["cause"].value_counts().to_dict()  # what choosing it would show
    page.click("#all")
    page.evaluate("() => new Promise(done => setTimeout(done, 20))")
    for text in pair.unique():
        option = page.eval_on_selector_all(
            "#by-pair option", "(options, text) => options.find(o => o.dataset.name === text).value", text
        )
        page.select_option("#by-pair", option)
        assert sorted(tiles(page)) == sorted(table.loc[pair == text, "index"])
        for cause, n in table.loc[pair == text, "cause"].value_counts().items():
            assert counts_of(page, "cause")[cause] == n
    page.select_option("#by-label", "")  # no pair is chosen any longer
    assert page.input_value("#by-pair") == ""


@pytest.fixture(scope="module")
def named(folder: Path) -> tuple[Path, Predictions]:
    """The report of images with file names."""
    plain = foreign(400, 5, shape=(8, 8, 1))
    files = [f"shelf {i % 3}/Photo & {i:03}.PNG" for i in range(400)]
    found = Predictions(plain.labels, plain.probs, images=plain.images, files=files)
    return found.report(folder / "named.html"), found


def test_search_finds_exactly_the_names_with_the_text(visit: Open, named: tuple[Path, Predictions], many: Path) -> None:
    path, found = named
    wrong = np.flatnonzero(found.misread)
    page = visit(path)
    for text in ("shelf 1", "PHOTO & 0", "7.png", " 12", "nothing", ""):
        page.fill("#by-name", text)
        expected = [i for i in wrong if text.strip().lower() in found.files[i].lower()]
        assert sorted(tiles(page)) == expected
        assert page.inner_text("#count").startswith(f"{len(expected)} of {len(wrong)} ")
        assert sum(counts_of(page, "pair").values()) == len(expected)
    page = visit(many)  # without files: by the index
    page.fill("#by-name", "12")
    wrong = np.flatnonzero(foreign(1000, 10).misread)
    assert sorted(tiles(page)) == [i for i in wrong if str(i).startswith("12")]


def test_a_link_leads_to_the_same_view(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    table = runs[0].misreads.explain().table
    pair = table.groupby(["label", "prediction"]).size().idxmax()
    some = table[(table["label"] == pair[0]) & (table["prediction"] == pair[1])]
    cause = some["cause"].mode()[0]
    page = visit(whole)
    assert "#" not in page.url
    page.select_option("#by-label", str(NAMES.index(pair[0])))
    page.select_option("#by-prediction", str(NAMES.index(pair[1])))
    page.select_option("#by-cause", cause)
    page.select_option("#sort", "loss-up")
    page.click("[data-change=both]")
    shown = tiles(page)
    assert sorted(shown) == sorted(some.loc[some["cause"] == cause, "index"])
    page.locator("#tiles button").first.click()
    title, address = page.inner_text("#view-title"), page.url

    again = visit(whole)
    again.goto("about:blank")
    again.goto(address)
    assert again.inner_text("#view-title") == title
    assert again.inner_text("#view-place") == f"1 of {len(shown)}"
    again.keyboard.press("Escape")
    again.wait_for_function("!location.hash.includes('image=')")
    assert tiles(again) == shown
    assert again.input_value("#sort") == "loss-up"
    assert again.get_attribute("[data-change=both]", "aria-pressed") == "true"
    again.evaluate(f"location.hash = 'sort=index&image={table['index'].iloc[0]}&label=no such class'")
    again.wait_for_function("document.getElementById('view').open")
    assert again.inner_text("#view-place").endswith(f" of {len(table)}")
    again.keyboard.press("Escape")
    again.click("nav a[href='#classes']")  # a link to a section changes nothing
    assert again.input_value("#sort") == "index"
    again.click("#all")
    again.wait_for_function("document.getElementById('sort').value === 'confidence'")


def test_print_has_every_image_that_is_chosen(visit: Open, named: tuple[Path, Predictions]) -> None:
    path, found = named
    page = visit(path)
    page.select_option("#by-label", "2")
    chosen = int((found.misread & (found.labels == 2)).sum())
    pictures = page.pdf().count(b"/Subtype /Image")  # a picture that is there twice is in the file once
    page.evaluate("for (const other of document.querySelectorAll('#preview, #doubts')) other.remove()")
    without = page.pdf().count(b"/Subtype /Image")
    assert without == chosen
    assert pictures >= chosen
    assert len(drawn(page)) == len(set(drawn(page))) <= chosen
