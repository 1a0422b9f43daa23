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
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from misread import load_recipe

LESSON = Path(__file__).parents[1] / "docs" / "lesson.ipynb"
LOADS = 'data = misread.load("mnist")'


def read_lesson() -> NotebookNode:
    return nbformat.read(LESSON, as_version=4)


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


def test_the_committed_lesson_is_valid_and_shows_its_pictures() -> None:
    lesson = read_lesson()
    nbformat.validate(lesson)
    assert (lesson.nbformat, lesson.nbformat_minor) == (4, 5)
    assert lesson.metadata.kernelspec.name == "python3"
    counts = [cell.execution_count for cell in lesson.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom in a fresh kernel before committing"
    assert LESSON.stat().st_size < 1_500_000
    shown = pictures(lesson)
    assert len(shown) >= 12
    assert all(picture.std() > 5 for picture in shown), "a picture is blank"
    assert re.search(r"\d+ of [\d,]+ misread \(mnist test, 10,000 images\)", text(lesson))
    assert "795,010 parameters, as counted by hand: True" in text(lesson)
    assert "3,156,098 parameters, as counted by hand: True" in text(lesson)


def test_the_committed_lesson_holds_no_warning_and_no_path_of_a_machine() -> None:
    lesson = read_lesson()
    assert not [o for o in outputs(lesson) if o.output_type == "error" or o.get("name") == "stderr"]
    assert "Warning" not in text(lesson)
    for output in outputs(lesson):
        for kind in [k for k in output.get("data", {}) if k.startswith("image/")]:
            del output.data[kind]  # base64 may spell anything
    assert re.findall(r"/(?:home|Users|root|work|tmp|var)/[\w/.-]*|[A-Z]:\\\\\w+", nbformat.writes(lesson)) == []


def test_what_the_exercises_suggest_can_be_used(tmp_path: Path) -> None:
    exercises = read_lesson().cells[-1].source
    (recipe,) = re.findall(r"```toml\n(.*?)```", exercises, re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r"^ {3}", "", recipe, flags=re.MULTILINE))
    assert load_recipe(path).early_stopping is not None
    suggested = re.findall(r'recipe="([\w-]+)", settings=(\{.*?\})', exercises)
    assert len(suggested) >= 3
    for name, settings in suggested:
        assert load_recipe(name, ast.literal_eval(settings)) != load_recipe(name)
