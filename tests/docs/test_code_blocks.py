"""Every command and line of Python in the documentation runs, on small data, and prints what the page shows."""

import ast
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docs_world as world
import matplotlib.pyplot as plt
import pytest
from code_blocks import PAGES, ROOT, Block, blocks, commands, why_not

from misread.training.recipe import load_recipe
from samples import draw_nothing

RUNNABLE = ("python", "commands", "console", "toml")
WITH_EXAMPLES = [
    page
    for page in PAGES
    if not page.stem.endswith(".ko") and any(b.kind in RUNNABLE and not b.reason for b in blocks(page))
]
TRANSLATIONS = [page for page in PAGES if page.stem.endswith(".ko")]
REASONS = {
    "it takes minutes",
    "needs the extras mlflow and tensorboard",
    "needs the Hugging Face Hub",
    "a program beside an exported file, with a test of its own",
    "needs Keras and a model of yours",
    "needs timm or an exported network, and large pictures",
    "a part of a recipe",
    "needs Ray or Spark",
    "a server runs until it is stopped",
    "torchrun starts several processes",
}


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder to copy, and the hash of an image that is in no patch."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    cache = os.environ.pop("MISREAD_CACHE", None)
    os.environ["MISREAD_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        free = world.build(folder)
    yield folder, free
    os.chdir(before)
    del os.environ["MISREAD_CACHE"]
    if cache:
        os.environ["MISREAD_CACHE"] = cache


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
def test_examples_run(page: Path, shared_world: tuple[Path, str], tmp_path: Path, monkeypatch: Any) -> None:
    template, free = shared_world
    here = shutil.copytree(template, tmp_path / "here")
    monkeypatch.chdir(here)
    monkeypatch.setattr("PIL.Image.Image.show", lambda picture: picture.load())  # no window of the system's viewer
    names = world.names(free)
    for block in blocks(page):
        if block.reason:
            continue
        if block.kind == "python":
            run_python(block, names)
        elif block.kind in ("commands", "console"):
            for command in commands(block.text):
                run_command(command, block, free)
        elif block.kind == "toml" and (name := re.match(r"# (\S+\.toml)\n", block.text)):
            Path(name[1]).write_text(block.text)
            load_recipe(name[1])
    plt.close("all")


def run_python(block: Block, names: dict[str, Any]) -> None:
    text = block.text
    for said, used in world.SHORTER_PYTHON.items():
        text = text.replace(said, used)
    try:
        exec(compile(text, str(block), "exec"), names)
    except Exception as error:
        raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error


def run_command(command: str, block: Block, free: str) -> None:
    if why_not(command) or command.startswith("cd "):
        return
    if command.startswith("make "):
        assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        return
    if not command.startswith("misread "):
        assert (ROOT / command.split()[1]).exists(), f"{block}: {command}"
        return
    result = world.call(command, free, whole=block.kind == "console")
    expected = shown_output(block, command)
    if expected is None:
        assert result.code == 0, f"{block}: {command}\n{result.out}{result.err}"
    else:
        assert world.matches(expected, result.out + result.err), f"{block}: {command} prints\n{result.out}{result.err}"


def shown_output(block: Block, command: str) -> str | None:
    """What a console block shows below this command."""
    if block.kind != "console":
        return None
    _, _, after = block.text.partition(f"$ {command}\n")
    return after.partition("\n$ ")[0]


def meaning(block: Block) -> object:
    """What a block does, whatever its comments say."""
    if block.kind == "python":
        return ast.dump(ast.parse(block.text))
    return tuple(commands(block.text)) if block.kind == "commands" else block.text


def without_names(text: object) -> object:
    """A command without what a person writes about a decision."""
    return tuple(re.sub(r'"[^"]*"', '""', line) for line in text) if isinstance(text, tuple) else text


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.name)
def test_a_translation_has_only_blocks_of_the_original_which_are_run(page: Path) -> None:
    original = {without_names(meaning(block)) for block in blocks(page.with_name(page.name.replace(".ko.", ".")))}
    assert blocks(page)
    for block in blocks(page):
        assert without_names(meaning(block)) in original, str(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in (*RUNNABLE, "json", "text"), (
            f"{block}: say what is in the block, as ```{block.kind} does not"
        )
        if block.reason:
            assert block.reason in REASONS, f"{block}: {block.reason}"
        elif block.kind == "toml":
            tomllib.loads(block.text)
            assert re.match(r"# \S+\.toml\n", block.text), (
                f"{block}: name the file in the first line, or mark the block"
            )


def test_the_reasons_for_not_running_a_block_are_these() -> None:
    assert {b.reason for page in PAGES for b in blocks(page) if b.reason} == REASONS


def test_a_wrong_example_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "    misread summary fast | tail\n\n```python\n1 / 0\n```\n\n```console\n$ misread summary fast\nnothing\n```\n"
    )
    command, python, console = blocks(page)
    assert [b.kind for b in (command, python, console)] == ["commands", "python", "console"]
    with pytest.raises(AssertionError, match="page.md:1: misread summary fast | tail"):
        run_command(commands(command.text)[0], command, "")
    with pytest.raises(AssertionError, match="page.md:3: ZeroDivisionError"):
        run_python(python, {})
    with pytest.raises(AssertionError, match=r"prints\s+Layer"):
        run_command(commands(console.text)[0], console, "")
