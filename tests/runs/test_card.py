"""The model card in a run folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

import misread
from misread.errors import RunError
from misread.runs.card import OURS, card_text
from samples import Result, blocks

pytestmark = pytest.mark.usefixtures("without_pictures")

DENSE = {"layers": [{"type": "Flatten"}, {"type": "Dense", "units": "classes"}], "epochs": 1, "name": "dense"}
NASTY = ["a|b*c*", "<img src=x>", "[x](http://evil)\n# b", '"---\\']


def train(data: Any, out: Path, **more: Any) -> misread.Run:
    return misread.train(data, "tutorial-mlp", settings=DENSE, out=out, progress=False, **more)


def header_of(text: str) -> dict[str, Any]:
    _, header, _ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(header)


def html_of(text: str) -> str:
    return MarkdownIt("gfm-like", {"linkify": False}).render(
        re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)[2]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> misread.Run:
    return train("digits", tmp_path_factory.mktemp("runs"))


def test_every_run_has_a_card_with_its_own_numbers(run: misread.Run) -> None:
    text = (run.folder / "README.md").read_text()
    test = run.metrics["test"]
    assert f"**{test['accuracy']:.2%}** of 359 test images" in text
    assert f"(95% interval {test['accuracy_low']:.2%} to {test['accuracy_high']:.2%})" in text
    table = run.misreads.table
    worst = table.groupby(["label", "prediction"]).size().max()
    first = re.search(r"\| label \| read as .*\n.*\n\| (\d) \| (\d) \| (\d+) \|", text)
    assert first
    assert int(first[3]) == worst
    assert int(first[3]) == ((table["label"] == first[1]) & (table["prediction"] == first[2])).sum()
    assert run.data.fingerprint in text
    assert (run.folder / re.findall(r"!\[.*\]\((.*)\)", text)[0]).is_file()


def test_the_header_is_that_of_a_model_card_on_the_hub(run: misread.Run) -> None:
    header = header_of(run.card())
    assert header["library_name"] == "misread"
    assert header["pipeline_tag"] == "image-classification"
    (model,) = header["model-index"]
    (result,) = model["results"]
    assert (model["name"], result["task"]["type"]) == ("dense on digits", "image-classification")
    assert result["dataset"] == {"name": "digits", "type": "digits", "split": "test"}
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["Accuracy"] == pytest.approx(run.metrics["test"]["accuracy"], abs=1e-6)
    assert values["Macro F1"] == pytest.approx(run.metrics["test"]["macro_f1"], abs=1e-6)


def test_names_from_the_data_show_as_they_are(tmp_path: Path) -> None:
    images, labels = blocks(90)
    data = misread.ImageSet.from_arrays(images, labels[::-1] % 4, class_names=NASTY, name='x: "y"\n---\n<b>')
    text = train(data, tmp_path).card()
    assert header_of(text)["model-index"][0]["results"][0]["dataset"]["name"] == 'x: "y" --- <b>'
    html = html_of(text)
    assert "<b>" not in html
    assert html.count("<img") <= 1
    assert "<a " not in html
    assert html.count("<h1>") == 1
    for name in ("a|b*c*", "&lt;img src=x&gt;", "[x](http://evil) # b", "&quot;---\\"):
        assert f"<td>{name}</td>" in html, name


def test_a_report_adds_the_causes(run: misread.Run) -> None:
    assert "Why, as far as misread can tell" not in run.card()
    run.report()
    counts = run.misreads.explain().table["cause"].value_counts()
    for cause, n in counts.items():
        assert f"| {cause} | {n} |" in run.card()


def test_a_card_that_somebody_made_theirs_is_kept(run: misread.Run, cli: Callable[..., Result]) -> None:
    path = run.folder / "README.md"
    before = path.read_text()
    path.write_text(before.replace(OURS, "mine"))
    run.report()
    assert path.read_text() == before.replace(OURS, "mine")
    path.unlink()
    printed = cli("card", run.folder)
    assert printed.out == path.read_text()
    found = json.loads(cli("card", run.folder, "--json").out)
    assert found == {"path": str(path), "text": path.read_text()}


def test_a_card_that_cannot_be_written_is_named(run: misread.Run) -> None:
    path = run.folder / "README.md"
    path.unlink()
    path.mkdir()
    with pytest.raises(RunError, match=r"README.md cannot be written: "):
        run.card()
    assert run.report().is_file()  # the page needs no card
    path.rmdir()


def test_a_perfect_run_has_no_confused_pairs(run: misread.Run) -> None:
    scored = run.predictions().with_labels(run.predictions().predicted)
    assert "No test image was misread" in card_text(run.record, run.recipe, scored)
