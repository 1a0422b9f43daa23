"""Turns misread's docstrings, which are plain text, into reStructuredText."""

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

ITEM = re.compile(r"([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): +(.*)")  # `labels: (N,) int64`, `data, network: needed if ...`
RAISES = re.compile(r"(Raises [\w, ]+): +(.*)")
SEVERAL = re.compile(r"(?<=\.) ([a-z_]+): ")  # a second argument on the same line: `...first. seed: the first seed`


def blocks(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(term, text) for arguments and errors, ("", text) for paragraphs."""
    term, text = "", []
    for line in [*lines, ""]:
        raises, item = RAISES.match(line), ITEM.match(line)
        begins = raises or item
        # the rest of an argument's text is indented, or goes on in the middle of a sentence
        goes_on = bool(line.strip()) and not begins and (not term or line[0].isspace() or line[0].islower())
        if goes_on:
            text.append(line.strip())
            continue
        if text:
            yield term, " ".join(text)
        term, text = (begins[1], [begins[2]]) if begins else ("", [line.strip()] if line.strip() else [])
    if text:
        yield term, " ".join(text)


def literal(text: str) -> str:
    """Text in which only `code` is markup: stars, underscores and bars are taken as they are."""
    parts = text.split("`")
    outside = [re.sub(r"([*|\\]|\b_|_\b)", r"\\\1", part) for part in parts[::2]]
    inside = [f"``{part}``" for part in parts[1::2]]
    return "".join(a + b for a, b in zip(outside, [*inside, ""], strict=True))


def as_rst(lines: list[str]) -> list[str]:
    result: list[str] = []
    for term, text in blocks(lines):
        if term.startswith("Raises "):
            result += [term, f"    {literal(text)}", ""]
        elif term:
            first, *more = SEVERAL.split(text)
            for name, what in zip([term, *more[::2]], [first, *more[1::2]], strict=True):
                result += [", ".join(f"``{part}``" for part in name.split(", ")), f"    {literal(what)}", ""]
        else:
            result += [literal(text), ""]
    return result


def process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    if name.startswith("misread"):
        lines[:] = as_rst(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True}
