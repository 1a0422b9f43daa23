"""The file of the report: what is written, when it is refused, and how it is asked for."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import misread
from misread import Predictions, Run
from misread.errors import DataError, RunError
from misread.report.diagrams import ticks
from misread.report.page import as_json
from samples import Result, blocks, write_idx_folder

Cli = Callable[..., Result]
SETTINGS = ('layers=[{type="Flatten"}, {type="Dense", units="classes"}]',)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of blocks with wrong test labels, from a folder that is there no longer when a test removes it."""
    folder = tmp_path_factory.mktemp("report")
    test_images, test_labels = blocks(80, seed=1)
    test_labels[::5] = (test_labels[::5] + 1) % 4
    source = write_idx_folder(folder / "blocks", blocks(160), (test_images, test_labels))
    return misread.train(str(source), "tutorial-mlp", epochs=6, settings=SETTINGS, out=folder, progress=False)


def data_of(page: str) -> dict:
    """What the page's script reads, as a browser would: up to the first end of a script element."""
    text = page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    return json.loads(text)


def report_of(run: Run, **asked: object) -> str:
    return run.report("page.html", **asked).read_text(encoding="utf-8")  # type: ignore[arg-type]


def predictions(n: int = 40, **given: object) -> Predictions:
    probs = np.full((n, 4), 0.1, dtype=np.float32)
    probs[np.arange(n), np.arange(n) % 3] = 0.7
    return Predictions(np.arange(n) % 4, probs, **given)


def test_report_is_written_into_the_run_folder_whole(cli: Cli, run: Run) -> None:
    done = cli("report", run.folder, "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    path = run.folder / "report.html"
    wrong = int((run.predictions().probs.argmax(axis=1) != run.predictions().labels).sum())
    assert said == {"path": str(path), "size_bytes": path.stat().st_size, "misread": wrong, "n": 80}
    assert f"Finding why {wrong} images were misread" in done.err
    data = data_of(path.read_text(encoding="utf-8"))
    assert len(data["misreads"]) == wrong
    assert all(len(data["items"]["near"][place]) == 5 for place in data["misreads"])
    assert [p for p in run.folder.iterdir() if "partial" in p.name] == []
    quick = cli("report", run.folder, "--no-causes", "--quiet", "--out", "quick.html")
    assert (quick.code, quick.err) == (0, "")
    assert "cause" not in data_of(Path("quick.html").read_text(encoding="utf-8"))["items"]


def test_every_figure_comes_with_the_report_as_png_and_svg(cli: Cli, run: Run) -> None:
    assert cli("report", run.folder, "--no-causes").code == 0
    figures = {path.name for path in (run.folder / "figures").iterdir()}
    names = ("history", "misreads", "confusion", "per-class", "reliability", "risk-coverage")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name in names:
        with Image.open(run.folder / "figures" / f"{name}.png") as picture:
            assert picture.width > 300
        assert ElementTree.parse(run.folder / "figures" / f"{name}.svg").getroot().tag.endswith("svg")


def test_hashes_and_labels_are_those_of_the_data(run: Run) -> None:
    data = data_of(report_of(run, causes=False))
    table = run.misreads.table.set_index("index")
    items = data["items"]
    for place in data["misreads"]:
        line = table.loc[items["index"][place]]
        assert items["hash"][place] == line["hash"]
        assert data["classes"][items["label"][place]] == line["label"]
    ranked = run.label_issues()
    ranked = ranked[ranked["suggested"] != ranked["label"]]
    assert [items["index"][d["item"]] for d in data["doubtful"]] == ranked["index"].tolist()[:60]
    assert [data["classes"][d["suggested"]] for d in data["doubtful"]] == ranked["suggested"].tolist()[:60]


def test_run_whose_data_is_gone_still_has_a_report_that_says_so(run: Run) -> None:
    source = Path(run.record.data.source)
    away = source.rename(source.with_name("away"))
    try:
        page = report_of(misread.open_run(run.folder))
    finally:
        away.rename(source)
    assert "Without pictures:" in page
    assert "Without causes:" in page
    assert len(data_of(page)["misreads"]) == len(run.misreads)
    assert data_of(page)["pictures"] == {}
    assert "doubtful" not in data_of(page)


def test_nothing_in_a_name_ends_the_script_or_the_markup() -> None:
    names = ["</script><script>alert(1)</script>", "<!--<script>", "a & 'b' \"c\"", "\u2028\u2029"]
    text = as_json(names)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == names
    page = predictions(class_names=names, name="<i>x</i>").report(Path("names.html")).read_text(encoding="utf-8")
    assert data_of(page)["classes"] == names
    assert page.count("</script>") == 2
    assert "<i>" not in page
    assert "content=\"default-src 'none'; img-src data:" in page


def test_a_name_that_is_no_utf8_is_no_obstacle() -> None:
    names = ["caf\udce9", "b", "c", "d"]  # as a folder in Latin-1 is called
    page = predictions(class_names=names).report(Path("names.html")).read_text(encoding="utf-8")
    assert "caf?" in page


def test_reports_of_foreign_predictions_from_files(cli: Cli) -> None:
    given = predictions()
    images = np.random.default_rng(0).integers(0, 256, (40, 9, 7), dtype=np.uint8)
    np.save("y.npy", given.labels)
    np.savez("both.npz", probs=given.probs, labels=given.labels)
    np.save("x.npy", images)
    Path("names.txt").write_text("ant\nbee\ncat\ndog\n")
    arguments = ("--labels", "y.npy", "--probs", "both.npz", "--images", "x.npy", "--class-names", "names.txt")
    done = cli("report", *arguments, "--out", "r.html", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["misread"] == int((given.labels != given.probs.argmax(axis=1)).sum())
    data = data_of(Path("r.html").read_text(encoding="utf-8"))
    assert data["classes"] == ["ant", "bee", "cat", "dog"]
    place = data["misreads"][0]
    picture = Image.open(io.BytesIO(base64.b64decode(data["pictures"]["items"]["bodies"][place])))
    assert np.array_equal(np.asarray(picture.convert("L")), images[data["items"]["index"][place]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name a run"),
        (("--labels", "y.npy", "--out", "r.html"), "give both --labels and --probs"),
        (("--labels", "y.npy", "--probs", "p.npy"), "--out"),
        (
            ("--labels", "y.npy", "--probs", "p.npy", "--out", "r.pdf"),
            "is not the name of a page. Use the suffix .html",
        ),
        (("--labels", "y.npy", "--probs", "p.npy", "--out", "r.html", "--compare", "runs/x"), "about runs"),
        (("--labels", "short.npy", "--probs", "p.npy", "--out", "r.html"), "Lengths differ: labels 10, probs 40"),
        (("--labels", "y.npy", "--probs", "y.npy", "--out", "r.html"), "probs has the shape (40,)"),
        (("--labels", "y.npy", "--probs", "two.npz", "--out", "r.html"), "has the arrays a, b. Name one of them"),
        (("--labels", "y.npy", "--probs", "p.npy", "--class-names", "n.txt", "--out", "r.html"), "there are 2 classes"),
        (("--labels", "y.npy", "--probs", "p.npy", "--class-names", "no.txt", "--out", "r.html"), "cannot be read"),
        (("--labels", "y.npy", "--probs", "p.npy", "--images", "p.npy", "--out", "r.html"), "the shape is (40, 4)"),
        (("--labels", "y.npy", "--probs", "p.npy", "--out", "no/r.html"), "no/r.html cannot be written"),
        (("nowhere",), "no run folder nowhere"),
        (("nowhere", "--probs", "p.npy"), "--probs without it"),
        (("nowhere", "--no-causes", "--other", "x"), "drop one of them"),
    ],
)
def test_what_cannot_be_done_is_one_message(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    given = predictions()
    np.save("y.npy", given.labels)
    np.save("short.npy", given.labels[:10])
    np.save("p.npy", given.probs)
    np.savez("two.npz", a=given.probs, b=given.probs)
    Path("n.txt").write_text("a\nb\n")
    done = cli("report", *arguments)
    assert done.code == 2
    assert done.err.startswith("Error: ")
    assert said in done.err
    assert not Path("r.html").exists()


def test_comparison_pages(cli: Cli, run: Run) -> None:
    done = cli("compare", run.folder, run.folder, "--html", "both.html")
    assert done.code == 0, done.err
    assert "Page: both.html" in done.out
    wrong = len(run.misreads)
    changes = data_of(Path("both.html").read_text(encoding="utf-8"))["changes"]
    assert [len(changes[name]) for name in ("broken", "fixed", "both")] == [0, 0, wrong]
    assert cli("compare", run.folder, run.folder, "--html", "both.png").code == 2


def test_other_runs_judge_causes_or_are_refused(run: Run, block_set: misread.ImageSet, tmp_path: Path) -> None:
    said = report_of(run, others=[run])
    assert "(other runs " in said
    stranger = misread.train(block_set, "tutorial-mlp", epochs=1, settings=SETTINGS, out=tmp_path, progress=False)
    with pytest.raises(RunError, match="other data than the run"):
        run.report(tmp_path / "r.html", others=[stranger])


def test_no_images_no_report() -> None:
    with pytest.raises(DataError, match="no images to measure calibration on"):
        Predictions([], np.zeros((0, 3))).report("r.html")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.935, 1, [0.94, 0.96, 0.98, 1]),
        (1, 10, [2, 4, 6, 8, 10]),
        (3, 3, [3]),
        (0, 0.00042, [0, 0.0001, 0.0002, 0.0003, 0.0004]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_the_report_speaks_korean(visit: Callable[..., Any], runs: tuple[Run, Run], folder: Path) -> None:
    """Every word of the template and of the components; what the analysis says stays in English."""
    page = visit(runs[0].report(folder / "ko.html", compare=runs[1], language="ko"))
    assert page.get_attribute("html", "lang") == "ko"
    assert page.inner_text("#confusion-title") == "무엇을 무엇으로 읽었나"
    assert f"{runs[0].metrics['test']['misread']}" in page.inner_text("#count")
    for place in ("h2, h3", "nav a", "label", "thead button", "summary", "#decided", "#left-result", "#changes-count"):
        for text in page.eval_on_selector_all(place, "all => all.map(one => one.textContent.trim())"):
            assert re.search("[가-힣]", text) or text == "F1", (place, text)
    with pytest.raises(RunError, match="language 'xx'.*en, ko"):
        runs[0].report(folder / "xx.html", language="xx")
