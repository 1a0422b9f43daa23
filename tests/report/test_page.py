"""The report as its readers meet it: in a real browser, against numbers that are worked out here from the arrays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

import misread
from misread import Run
from misread.report.job_sections import job_page_of
from pages import NAMES, foreign, job_content, pixels, tiles
from samples import Result, blocks

Open = Callable[..., Any]
Cli = Callable[..., Result]


def test_numbers_at_the_top_are_those_of_the_arrays(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    found = runs[0].predictions()
    wrong = int((found.probs.argmax(axis=1) != found.labels).sum())
    assert wrong >= 30
    page = visit(whole)
    assert page.inner_text("#misread-count") == str(wrong)
    assert page.inner_text("#accuracy") == f"{100 * (160 - wrong) / 160:.2f}%"
    assert page.title() == "tutorial-mlp on signs · misread"
    rests_on = page.inner_text("#facts")
    for said in ("320 training", "12 epochs", runs[0].record.environment.torch, "8 × 8, grey; 4 classes"):
        assert said in rests_on
    assert page.locator("#training svg").count() == 2


def test_cells_of_the_matrix_count_and_open_their_images(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    found = runs[0].predictions()
    predicted = found.probs.argmax(axis=1)
    page = visit(whole)
    assert page.inner_text("#matrix thead .axis") == "Predicted"
    assert page.inner_text("#matrix tbody .axis") == "True"
    for k in range(4):
        for j in range(4):
            rows = np.flatnonzero((found.labels == k) & (predicted == j))
            cell = page.locator(f"#matrix tbody tr:nth-child({k + 1}) td").nth(j)
            assert cell.inner_text() == (str(len(rows)) if len(rows) or k == j else "·")
            if k != j and len(rows):
                cell.locator("button").click()
                assert sorted(tiles(page)) == rows.tolist()
                assert page.evaluate("document.activeElement.closest('#tiles') !== null")
                assert cell.locator("button").get_attribute("aria-pressed") == "true"
    pair = page.locator("#pairs button").first
    pair.click()
    label, prediction = (int(pair.get_attribute(f"data-{name}")) for name in ("label", "prediction"))
    assert sorted(tiles(page)) == np.flatnonzero((found.labels == label) & (predicted == prediction)).tolist()


def test_matrix_is_one_stop_for_tab_and_moves_by_arrows(visit: Open, whole: Path) -> None:
    page = visit(whole)
    assert page.locator("#matrix button[tabindex='0']").count() == 1
    page.locator("#matrix button[tabindex='0']").focus()
    seen = {page.evaluate("document.activeElement.ariaLabel")}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowDown", "ArrowRight", "ArrowUp") * 3:
        page.keyboard.press(key)
        seen.add(page.evaluate("document.activeElement.ariaLabel"))
    assert len(seen) > 3
    assert page.locator("#matrix button[tabindex='0']").count() == 1
    said = page.evaluate("document.activeElement.ariaLabel")
    page.keyboard.press("Enter")
    assert page.inner_text("#count").startswith(said.split(": ")[1].split(" ")[0])


def test_large_view_by_keyboard_alone(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    found = runs[0].predictions()
    page = visit(whole)
    shown = tiles(page)
    page.locator("#tiles button").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#view").is_visible()
    for at in (1, 2, 3):
        row = shown[at]
        assert page.inner_text("#view-place") == f"{at + 1} of {len(shown)}"
        assert NAMES[found.labels[row]] in page.inner_text("#view-title")
        assert f"Index {row};" in page.inner_text("#view .meta")
        expected = np.argsort(-found.probs[row], kind="stable")[:3]
        rows = page.locator("#view .probs").first.locator("tr")
        for place, k in enumerate(expected):
            text = rows.nth(place).inner_text()
            assert text.startswith(NAMES[k])
            assert text.endswith(f"{100 * found.probs[row, k]:.2f}%")
        label = page.locator("#view .is-label").first.inner_text()
        assert label.endswith(f"{100 * found.probs[row, found.labels[row]]:.2f}%")
        assert np.array_equal(
            pixels(page.get_attribute("#view .picture >> nth=0", "src")), blocks(160, seed=1)[0][row, ..., 0]
        )
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert not page.locator("#view").is_visible()
    assert page.evaluate("document.activeElement === document.querySelectorAll('#tiles button')[3]")


def test_large_view_shows_cause_and_nearest_training_images(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    explained = runs[0].misreads.explain()
    page = visit(whole)
    page.select_option("#sort", "index")
    page.locator("#tiles button").first.click()
    line = explained.table.sort_values("index").iloc[0]
    near = explained.neighbours[explained.neighbours["index"] == line["index"]].sort_values("place")
    assert page.inner_text("#view .chip") == line["cause"]
    assert line["evidence"] in page.inner_text("#view-body")
    assert page.locator("#view .near li b").all_inner_texts() == near["training_label"].tolist()
    training = blocks(320)[0]
    sources = page.eval_on_selector_all("#view .near img", "images => images.map(image => image.src)")
    for source, row in zip(sources, near["training_index"], strict=True):
        assert np.array_equal(pixels(source), training[row, ..., 0])
    assert page.locator("#previous").is_disabled()


def test_theme_toggles_and_is_remembered(visit: Open, whole: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = visit(whole)
    light = page.evaluate(ground)
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != light
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    page.reload()
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.evaluate(ground) == light
    assert visit(whole, theme="dark").evaluate(ground) == dark


def test_decisions_become_a_patch_that_misread_accepts(
    visit: Open, whole: Path, data: Path, cli: Cli, runs: tuple[Run, Run], tmp_path: Path
) -> None:
    page = visit(whole)
    assert page.locator("#save").is_disabled()
    items = json.loads(page.locator("#data").text_content())
    first, second, third = (
        {name: items["items"][name][doubt["item"]] for name in ("index", "label", "hash")}
        for doubt in items["doubtful"][:3]
    )
    cards = page.locator("#doubts > li")
    page.fill("#by", "Ada")
    cards.nth(0).locator("button[data-decide]").first.click()  # the suggestion
    cards.nth(0).locator("input").fill('clearly "so" <b>')
    cards.nth(0).locator("input").blur()
    other = next(n for n in NAMES if n not in (NAMES[second["label"]], NAMES[items["doubtful"][1]["suggested"]]))
    cards.nth(1).locator("select").select_option(other)
    cards.nth(2).locator("button[data-decide]").nth(1).click()  # keep
    assert page.inner_text("#decided") == "2 labels to fix, 1 kept"
    page.reload()
    assert page.inner_text("#decided") == "2 labels to fix, 1 kept"
    assert cards.nth(1).locator("select").input_value() == other
    assert cards.nth(0).locator("input").input_value() == 'clearly "so" <b>'
    assert page.input_value("#by") == "Ada"
    with page.expect_download() as download:
        page.click("#save")
    patch = tmp_path / "labels.jsonl"
    download.value.save_as(patch)

    listed = cli("labels", "show", patch, data, "--json")
    assert listed.code == 0, listed.err
    fixes = {line["index"]: line for line in json.loads(listed.out)}
    suggested = runs[0].label_issues().set_index("index")["suggested"]
    assert set(fixes) == {first["index"], second["index"]}
    assert fixes[first["index"]]["new"] == suggested[first["index"]]
    assert fixes[first["index"]]["note"] == 'clearly "so" <b>'
    assert fixes[second["index"]]["new"] == other
    assert {line["by"] for line in fixes.values()} == {"Ada"}
    assert "Note:" not in listed.err  # every old label is the one the data has
    third_fix = f"{third['hash']}={other if NAMES[third['label']] != other else NAMES[second['label']]}"
    assert cli("labels", "apply", patch, data, "--fix", third_fix).code == 0
    assert cli("labels", "merge", patch, patch, "--out", tmp_path / "merged.jsonl").code == 0

    cards.nth(2).locator("button[data-decide]").nth(1).click()  # taken back
    assert page.inner_text("#decided") == "2 labels to fix, 0 kept"
    page.click("#forget")
    page.reload()
    assert page.inner_text("#decided") == "Nothing decided yet"


def test_page_works_where_nothing_may_be_kept(visit: Open, whole: Path) -> None:
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError') } })"
    )
    page = visit(whole, script=refuse)
    page.click("#theme")
    page.locator("#doubts button[data-decide]").first.click()
    assert page.inner_text("#decided").startswith("1 label")
    assert page.locator("#save").is_enabled()


def test_a_label_can_be_decided_in_the_large_view(visit: Open, whole: Path) -> None:
    page = visit(whole)
    page.locator("#tiles button").first.click()
    page.locator("#view button[data-decide]").first.click()
    assert page.locator("#view button[data-decide]").first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("ArrowRight")  # though the button that had the focus goes with its image
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#view-place").startswith("3 of ")
    page.keyboard.press("Escape")
    assert page.inner_text("#decided").startswith("1 label to fix")


def test_slider_tells_what_is_left_and_what_is_still_misread(visit: Open, many: Path) -> None:
    found = foreign(1000, 10)
    confidence, wrong = found.probs.max(axis=1), found.probs.argmax(axis=1) != found.labels
    least_first = np.argsort(confidence)
    page = visit(many)
    for place, left in ((0, 0), (40, 200), (100, 500)):  # half may be left; a hundred steps
        page.evaluate(f"left.value = {place}; left.dispatchEvent(new Event('input'))")
        still = int(wrong[least_first[left:]].sum())
        result = page.inner_text("#left-result")
        assert result.startswith(f"{left} images below")
        assert f"of the rest {still} are misread: {100 * still / (1000 - left):.2f}% instead of" in result
        assert page.inner_text("#left-share") == f"{left / 10:.1f}%"


def test_classes_sort_by_their_numbers(visit: Open, many: Path) -> None:
    found = foreign(1000, 10)
    precision, recall, f1, support = precision_recall_fscore_support(found.labels, found.probs.argmax(axis=1))
    page = visit(many)
    for column, (name, values) in {3: ("Recall", recall), 6: ("Precision", precision), 8: ("F1", f1)}.items():
        head = page.locator(f"#per-class thead th:nth-child({column})")
        for order, sign in (("descending", -1), ("ascending", 1)):
            head.get_by_role("button", name=name).click()
            assert head.get_attribute("aria-sort") == order
            shown = page.locator("#per-class tbody th").all_inner_texts()
            texts = page.locator(f"#per-class tbody td:nth-child({column})").all_inner_texts()
            assert texts == [f"{100 * values[int(k)]:.2f}%" for k in shown]
            assert (np.diff(sign * values[[int(k) for k in shown]]) >= 0).all()
    assert page.locator("#per-class thead [aria-sort]").count() == 1
    assert set(page.locator("#per-class tbody td:nth-child(2)").all_inner_texts()) == {str(support[0])}


def test_comparison_counts_and_shows_what_changed(visit: Open, whole: Path, runs: tuple[Run, Run]) -> None:
    a, b = (run.predictions() for run in runs)
    wrong_a, wrong_b = (p.probs.argmax(axis=1) != p.labels for p in (a, b))
    expected = {"broken": wrong_b & ~wrong_a, "fixed": wrong_a & ~wrong_b, "both": wrong_a & wrong_b}
    assert expected["broken"].sum() > 0
    page = visit(whole)
    for name, which in expected.items():
        page.click(f"[data-change={name}]")
        assert sorted(tiles(page, "#changes-tiles")) == np.flatnonzero(which).tolist()
        assert page.inner_text("#changes-count").startswith(f"{which.sum()} image")
        assert page.inner_text(f"[data-change={name}] b") == str(which.sum())
    p = binomtest(int(expected["fixed"].sum()), int((expected["fixed"] | expected["broken"]).sum())).pvalue
    assert page.inner_text("#p-value") == f"{p:.2g}"
    assert "tutorial-mlp on the same data, 1 epoch, seed 1," in page.inner_text("#facts")
    assert page.inner_text("#difference") == f"{100 * (wrong_a.mean() - wrong_b.mean()):+.2f}"
    page.click("[data-change=broken]")
    page.locator("#changes-tiles button").first.click()
    row = tiles(page, "#changes-tiles")[0]
    heads = page.locator("#view h3").all_inner_texts()
    assert heads[0].endswith(f": {NAMES[a.probs[row].argmax()]}")
    assert heads[1].endswith(f": {NAMES[b.probs[row].argmax()]}")


def test_dangerous_names_are_shown_as_text(visit: Open, whole: Path) -> None:
    page = visit(whole)  # an alert would be a fault
    assert page.locator("#per-class tbody th").all_inner_texts() == NAMES
    for name in NAMES:
        assert name in page.inner_text("#matrix")
        assert any(option.startswith(f"{name} (") for option in page.locator("#by-label option").all_inner_texts())
    assert page.locator("b:text-is('\"x\"')").count() == 0
    assert page.evaluate("document.scripts.length") == 2


@pytest.fixture(scope="module")
def pages(whole: Path, many: Path, runs: tuple[Run, Run], folder: Path) -> dict[str, Path]:
    """A page of every kind that there is."""
    return {
        "whole": whole,
        "many": many,
        "one epoch, no causes": runs[1].report(folder / "short.html", causes=False),
        "comparison": misread.compare(*runs).report(folder / "comparison.html"),
        "no images": foreign(300, 5).report(folder / "bare.html"),
        "nothing misread": foreign(200, 3, margin=50, shape=(8, 8, 1)).report(folder / "right.html"),
        "a hundred classes": foreign(900, 100, margin=3, shape=(6, 6, 1)).report(folder / "hundred.html"),
        "job": job_page_of(job_content()).write(folder / "job.html"),
        "job without labels": job_page_of(job_content(labelled=0, probabilities=False)).write(folder / "bare-job.html"),
        "three images": foreign(3, 2, shape=(40, 200, 1)).report(folder / "three.html"),
    }


def test_no_page_is_wider_than_its_screen_or_has_an_empty_panel(visit: Open, pages: dict[str, Path]) -> None:
    sections = "all => all.map(e => [e.offsetHeight, e.innerText.trim().split(/\\n+/).length, e.innerText])"
    for name, path in pages.items():
        page = visit(path)
        for height, lines, text in page.eval_on_selector_all("main > section", sections):
            assert height > 60, (name, text)
            assert lines > 1, (name, text)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        targets = page.eval_on_selector_all("nav a", "links => links.map(link => !!document.querySelector(link.hash))")
        assert all(targets), name


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data] };
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = colour => { const [r, g, b] = colour.map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const ground = element => { for (let e = element; e; e = e.parentElement) {
    const colour = rgba(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) return colour } return [255, 255, 255, 255] };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, script, noscript, option")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(rgba(element.closest("svg") ? style.fill : style.color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([ratio.toFixed(2), element.outerHTML.slice(0, 90)]);
  }
  return low }"""


def test_text_can_be_read_in_both_themes(visit: Open, pages: dict[str, Path]) -> None:
    for name in ("whole", "no images", "a hundred classes", "job", "job without labels"):
        page = visit(pages[name])
        if page.locator("#doubts").count():
            page.locator("#doubts button[data-decide]").first.click()  # so that the main button has its colour
        for opened in (False, True):
            if opened:
                page.locator("[data-item]").first.click()
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                assert page.evaluate(CONTRAST) == [], (name, theme)


UNNAMED = """() => [
  ...[...document.querySelectorAll("button, select, input, [role=region], [role=group], [role=img]")].filter(e =>
    !(e.ariaLabel || e.textContent.trim() && !e.matches("select, input, [role]") || e.labels?.length)),
  ...[...document.querySelectorAll("img:not([alt]), th:not([scope])")],
].map(e => e.outerHTML.slice(0, 120))"""


def test_everything_has_a_name_for_a_screen_reader(visit: Open, pages: dict[str, Path]) -> None:
    for name in ("whole", "many", "comparison", "a hundred classes", "job", "job without labels"):
        page = visit(pages[name])
        if page.locator("#tiles button").count():
            page.locator("#tiles button").first.click()
        assert page.evaluate(UNNAMED) == [], name
        ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
        assert len(set(ids)) == len(ids)
        levels = page.eval_on_selector_all("main :is(h1, h2, h3)", "all => all.map(e => Number(e.tagName[1]))")
        assert levels[0] == 1
        assert max(np.diff(levels)) <= 1
        assert page.locator("main").count() == page.locator("nav[aria-label]").count() == 1
        assert page.locator("[aria-live=polite]").count() >= 1


def test_printed_page_leaves_the_controls_out(visit: Open, whole: Path) -> None:
    page = visit(whole, theme="dark")
    page.emulate_media(media="print")
    assert not page.locator(".bar").is_visible()
    assert not page.locator("#tools").is_visible()
    assert page.locator("#tiles img").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
