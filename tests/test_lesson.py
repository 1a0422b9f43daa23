"""The lesson: it runs from top to bottom without a network, and the copy in the repository has its pictures."""

import ast
import base64
import io
import json
import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from misread import load_recipe

DOCS = Path(__file__).parents[1] / "docs"
LESSON, KOREAN = DOCS / "lesson.ipynb", DOCS / "lesson.ko.ipynb"
LOADS = 'data = misread.load("mnist")'


def read_lesson(path: Path = LESSON) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def outputs(lesson: NotebookNode) -> list[NotebookNode]:
    return [output for cell in lesson.cells if cell.cell_type == "code" for output in cell.outputs]


def pictures(lesson: NotebookNode) -> list[np.ndarray]:
    found = [output.data["image/png"] for output in outputs(lesson) if "image/png" in output.get("data", {})]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("L")) for png in found]


def text(lesson: NotebookNode) -> str:
    """All that the cells printed or displayed as text or HTML."""
    kinds = ("text/plain", "text/html")
    return "\n".join(o.get("text", "") + "".join(o.get("data", {}).get(kind, "") for kind in kinds)
                     for o in outputs(lesson))  # fmt: skip


def test_the_lesson_runs_on_digits_without_a_network(tmp_path: Path) -> None:
    lesson = read_lesson()
    assert sum(LOADS in cell.source.splitlines() for cell in lesson.cells) == 1
    for cell in lesson.cells:
        cell.source = cell.source.replace(LOADS, LOADS.replace("mnist", "digits"))
        cell.source = re.sub(r'(misread\.train\(data, recipe="tutorial-\w+")\)', r"\1, epochs=4)", cell.source)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    environment = {
        **os.environ,
        "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait make a busy machine many times slower
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody listens there: a download fails at once
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    client = NotebookClient(
        lesson, timeout=120, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env=environment)

    assert all(cell.execution_count for cell in lesson.cells if cell.cell_type == "code")
    assert not [o for o in outputs(lesson) if o.output_type == "error"]
    assert not [o.text for o in outputs(lesson) if o.get("name") == "stderr" and "Warning" in o.text]

    records = [json.loads((run / "run.json").read_text()) for run in sorted((tmp_path / "runs").iterdir())]
    assert sorted(r["recipe"] for r in records) == ["tutorial-cnn", "tutorial-mlp"]
    assert sorted(r["model"]["parameters"] for r in records) == [795_010, 3_156_098]
    for record in records:
        assert record["status"] == "complete"
        assert record["data"]["name"] == "digits"
        test = record["metrics"]["test"]
        assert 0.9 < test["accuracy"] < 1
        assert f"{test['misread']} of {test['n']} misread" in text(lesson)
    assert re.search(r"\d+ of \d+ misread \(digits test, \d+ images\)", text(lesson))
    assert "as counted by hand: False" not in text(lesson)
    assert len(pictures(lesson)) == len(pictures(read_lesson()))


@pytest.mark.parametrize("path", [LESSON, KOREAN], ids=lambda path: path.name)
def test_the_committed_lesson_is_valid_and_shows_its_pictures(path: Path) -> None:
    lesson = read_lesson(path)
    nbformat.validate(lesson)
    assert (lesson.nbformat, lesson.nbformat_minor) == (4, 5)
    assert lesson.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in lesson.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom in a fresh kernel before committing"
    assert path.stat().st_size < 1_500_000
    shown = pictures(lesson)
    assert len(shown) >= 12
    assert all(picture.std() > 5 for picture in shown), "a picture is blank"
    assert re.search(r"\d+ of [\d,]+ misread \(mnist test, 10,000 images\)", text(lesson))
    assert "795,010 parameters, as counted by hand: True" in text(lesson)
    assert "3,156,098 parameters, as counted by hand: True" in text(lesson)


@pytest.mark.parametrize("path", [LESSON, KOREAN], ids=lambda path: path.name)
def test_the_committed_lesson_holds_no_warning_and_no_path_of_a_machine(path: Path) -> None:
    lesson = read_lesson(path)
    assert not [o for o in outputs(lesson) if o.output_type == "error" or o.get("name") == "stderr"]
    assert "Warning" not in text(lesson)
    for output in outputs(lesson):
        for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
            del output.data[kind]  # base64 may spell anything
    assert re.findall(r"/(?:home|Users|root|work|tmp|var)/[\w/.-]*|[A-Z]:\\\\\w+", nbformat.writes(lesson)) == []


def test_the_korean_lesson_is_the_same_lesson() -> None:
    """The same code with the same output, and between it the same headings, formulas and code, in Korean."""
    english, korean = read_lesson(LESSON), read_lesson(KOREAN)
    assert [(cell.id, cell.cell_type) for cell in english.cells] == [(cell.id, cell.cell_type) for cell in korean.cells]
    for ours, theirs in zip(korean.cells, english.cells, strict=True):
        if ours.cell_type == "code":
            assert (ours.source, ours.outputs) == (theirs.source, theirs.outputs), ours.id
            continue
        assert re.search("[가-힣]", ours.source), ours.id
        for kept in (r"^#+ ", r"\$\$.*?\$\$", r"^ *```.*?```$"):
            found = [re.findall(kept, cell.source, re.DOTALL | re.MULTILINE) for cell in (ours, theirs)]
            assert found[0] == found[1], ours.id
        for code in set(re.findall(r"`[^`\n]+`", theirs.source)):
            assert code in ours.source, (ours.id, code)


@pytest.mark.parametrize("path", [LESSON, KOREAN], ids=lambda path: path.name)
def test_what_the_exercises_suggest_can_be_used(tmp_path: Path, path: Path) -> None:
    exercises = read_lesson(path).cells[-1].source
    (recipe,) = re.findall(r"```toml\n(.*?)```", exercises, re.DOTALL)
    mine = tmp_path / "mine.toml"
    mine.write_text(re.sub(r"^ {3}", "", recipe, flags=re.MULTILINE))
    assert load_recipe(mine).early_stopping is not None
    suggested = re.findall(r'recipe="([\w-]+)", settings=(\{.*?\})', exercises)
    assert len(suggested) >= 3
    for name, settings in suggested:
        assert load_recipe(name, ast.literal_eval(settings)) != load_recipe(name)
