"""The report as its readers meet it: in a real browser, against numbers that are worked out here from the arrays."""

import base64
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

import misread
from misread import Predictions, Run
from samples import Result, blocks

Open = Callable[..., Any]
Cli = Callable[..., Result]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAMES = ["<script>alert(1)</script>", '</script><b>"x"', "it's & more", "plain"]
SETTINGS = ['layers=[{type="Flatten"}, {type="Dense", units=12, activation="relu"}, {type="Dense", units="classes"}]']


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, closed with the module: its event loop would be in the way of other tests'."""
    if CHROMIUM is None:
        message = "the report's page is tested in Chromium, and there is none: apt-get install chromium"
        (pytest.fail if os.environ.get("MISREAD_CI") else pytest.skip)(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a page. No test ends well whose page asked the network for anything, or said something to the console."""
    contexts, faults = [], []

    def open_page(path: Path, width: int = 1280, theme: str = "light", script: str = "") -> Any:
        # without motion: a click waits until nothing moves
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.set_default_navigation_timeout(300_000)  # where other work holds the machine
        page = context.new_page()
        if script:
            page.add_init_script(script)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(f"a dialog opened: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url == path.as_uri() or faults.append(request.url[:80]))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for fault in faults if not fault.startswith(("data:", "blob:"))] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """Blocks whose classes have dangerous names, every fifth test label and some training labels wrong."""
    (images, labels), (test_images, test_labels) = blocks(320), blocks(160, seed=1)
    test_labels[::5] = (test_labels[::5] + 1 + np.arange(32) % 3) % 4
    labels[:8] = (labels[:8] + 1) % 4
    path = folder / "signs.npz"
    arrays = {"x_train": images, "y_train": labels, "x_test": test_images, "y_test": test_labels}
    np.savez(path, **arrays, class_names=np.array(NAMES))
    return path


@pytest.fixture(scope="module")
def runs(data: Path, folder: Path) -> tuple[Run, Run]:
    """One that learnt the blocks, and one that was stopped early."""
    first, second = (
        misread.train(str(data), "tutorial-mlp", epochs=n, seed=n, settings=SETTINGS, out=folder, progress=False)
        for n in (12, 1)
    )
    return first, second


@pytest.fixture(scope="module")
def whole(runs: tuple[Run, Run]) -> Path:
    """The report of the first run, with its comparison to the second."""
    return runs[0].report(compare=runs[1])


@pytest.fixture(scope="module")
def many(folder: Path) -> Path:
    """The report of 1,000 colour images, not square, more of them misread than are drawn at a time."""
    return foreign(1000, 10, shape=(12, 20, 3)).report(folder / "many.html")


def foreign(n: int, classes: int, margin: float = 1.0, shape: tuple[int, ...] | None = None) -> Predictions:
    """Predictions by no network of ours."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    powers = np.exp(rng.normal(0, 1, (n, classes)) + margin * np.eye(classes)[labels])
    images = None if shape is None else rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return Predictions(labels, powers / powers.sum(axis=1, keepdims=True), images=images, name="elsewhere")


def tiles(page: Any, where: str = "#tiles") -> list[int]:
    """The rows in the source of all images of a list in their order, as they are printed: only then all are drawn."""
    script = f"""() => {{ const {{ items }} = JSON.parse(document.getElementById("data").textContent);
        dispatchEvent(new Event("beforeprint"));
        const all = [...document.querySelectorAll("{where} [data-item]")].map(tile => items.index[tile.dataset.item]);
        dispatchEvent(new Event("afterprint"));
        return all }}"""
    return page.evaluate(script)


def drawn(page: Any) -> list[int]:
    """The rows in the source of the images of the gallery that are drawn now."""
    return page.evaluate("""() => { const { items } = JSON.parse(document.getElementById("data").textContent);
        return [...document.querySelectorAll("#tiles [data-item]")].map(tile => items.index[tile.dataset.item]) }""")


def counts_of(page: Any, name: str) -> dict[str, int]:
    """What a filter offers, and how many images it says each has."""
    texts = page.eval_on_selector_all(f"#by-{name} option", "options => options.slice(1).map(o => o.textContent)")
    return {text.rpartition(" (")[0]: int(text.rpartition(" (")[2][:-1].replace(",", "")) for text in texts}


def pixels(src: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))).convert("L"))


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
    assert "image=" not in again.url
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
    for name in ("whole", "no images", "a hundred classes"):
        page = visit(pages[name])
        if page.locator("#doubts").count():
            page.locator("#doubts button[data-decide]").first.click()  # so that the main button has its colour
        for opened in (False, True):
            if opened:
                page.locator("#tiles button").first.click()
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                assert page.evaluate(CONTRAST) == [], (name, theme)


UNNAMED = """() => [
  ...[...document.querySelectorAll("button, select, input, [role=region], [role=group], [role=img]")].filter(e =>
    !(e.ariaLabel || e.textContent.trim() && !e.matches("select, input, [role]") || e.labels?.length)),
  ...[...document.querySelectorAll("img:not([alt]), th:not([scope])")],
].map(e => e.outerHTML.slice(0, 120))"""


def test_everything_has_a_name_for_a_screen_reader(visit: Open, pages: dict[str, Path]) -> None:
    for name in ("whole", "many", "comparison", "a hundred classes"):
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
