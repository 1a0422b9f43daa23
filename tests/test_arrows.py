"""Imports point one way: checked over the syntax tree of every module, against the map in CONTRIBUTING.md."""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import misread

SOURCES = Path(misread.__file__).parent
CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
FRONT_DOOR = {"__init__", "__main__"}  # right of every layer: they load whatever is asked for
MOVING = {"progress": "runs"}  # a module that shows runs; it is to move into that package


def modules(root: Path) -> dict[str, Path]:
    """Every module below the package folder `root`, by its dotted name; a package by that of its __init__."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported(module: str, path: Path, known: set[str]) -> Iterator[str]:
    """The known modules that a module imports anywhere: at its top, in a function, or only for types."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{source}.{a.name}" if f"{source}.{a.name}" in known else source for a in node.names]
        else:
            continue
        yield from (name for name in names if name in known and name != module)


def graph(root: Path) -> dict[str, set[str]]:
    paths = modules(root)
    return {module: set(imported(module, path, set(paths))) for module, path in paths.items()}


def layer_of(module: str) -> str:
    """The part below the root: a package, or a module that belongs to none."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def arrows_to_the_right(imports: dict[str, set[str]], layers: list[list[str]]) -> list[str]:
    place = {name: i for i, layer in enumerate(layers) for name in layer}
    place |= {name: place[home] for name, home in MOVING.items() if home in place}
    place |= dict.fromkeys(FRONT_DOOR, len(layers))
    return [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if place[layer_of(other)] > place[layer_of(module)]
    ]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or an empty list."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def layers_of_the_map() -> list[list[str]]:
    (line,) = [line for line in CONTRIBUTING.splitlines() if " <- " in line]
    return [[name.strip() for name in layer.split(",")] for layer in line.split("<-")]


def test_arrows_point_one_way() -> None:
    assert arrows_to_the_right(graph(SOURCES), layers_of_the_map()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph(SOURCES)) == []


def test_the_map_has_every_package_and_module_once() -> None:
    there = {layer_of(module) for module in modules(SOURCES)} - FRONT_DOOR - set(MOVING)
    assert sorted(name for layer in layers_of_the_map() for name in layer) == sorted(there)
    described = re.findall(r"^- `(\w+)/`:", CONTRIBUTING, flags=re.MULTILINE)
    packages = {path.parent.name for path in SOURCES.glob("*/__init__.py")}
    assert sorted(described) == sorted(packages)


LAYERS = [["low", "errors"], ["high"]]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from root.high import b", ["root.low.a imports root.high.b"]),
        ("import root.high.b", ["root.low.a imports root.high.b"]),
        ("def f():\n    from root.high.b import thing", ["root.low.a imports root.high.b"]),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from root.high.b import Thing",
            ["root.low.a imports root.high.b"],
        ),
        ("from ..high import b", ["root.low.a imports root.high.b"]),
        ("from .. import high", ["root.low.a imports root.high"]),
        ("import root", ["root.low.a imports root"]),
        ("from root.errors import Error\nfrom . import c\nimport json", []),
    ],
)
def test_a_planted_arrow_to_the_right_is_found(tmp_path: Path, source: str, found: list[str]) -> None:
    plant(tmp_path / "root", {"low/a": source, "low/c": "", "high/b": "from root.low import a", "errors": ""})
    assert arrows_to_the_right(graph(tmp_path / "root"), LAYERS) == found


def test_a_planted_circle_is_found_also_inside_a_package(tmp_path: Path) -> None:
    plant(tmp_path / "root", {"low/a": "from . import b", "low/b": "def f():\n    from root.low.c import x"})
    assert circle(graph(tmp_path / "root")) == []
    plant(tmp_path / "root", {"low/c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import a"})
    assert set(circle(graph(tmp_path / "root"))) == {"root.low.a", "root.low.b", "root.low.c"}


def plant(root: Path, sources: dict[str, str]) -> None:
    for name, source in sources.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        for package in (root, path.parent):
            (package / "__init__.py").touch()
