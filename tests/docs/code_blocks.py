"""The code blocks of a Markdown page, and the reasons why some are not run."""

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks/README.md",
]
MARKER = re.compile(r"<!-- not run: (.+?) -->")
PROGRAMS = {"misread", "make", "pip", "git", "python"}
# commands that no test can run, on whatever page they stand
NOT_RUN = {
    r"^git clone ": "needs the repository's address",
    r"^pip install ": "needs a package index",
    r"^misread (studio|serve)\b": "serves until Ctrl-C",
    r" --track (mlflow|tensorboard)": "needs an extra",
    r"timm:": "needs timm and downloads weights",
}


class Block(NamedTuple):
    """kind: python, commands (one a line), console (commands and their output), toml, json or text."""

    page: Path
    line: int
    kind: str
    text: str
    reason: str  # why it is not run; empty if it is

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def kind_of(info: str, text: str) -> str:
    if info in ("sh", "shell", "bash"):
        return "commands"
    if info:
        return info
    return "commands" if text.split()[0] in PROGRAMS else "text"


def blocks(page: Path) -> list[Block]:
    found, reason = [], ""
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        if token.type in ("fence", "code_block") and token.map:
            found.append(Block(page, token.map[0] + 1, kind_of(token.info, token.content), token.content, reason))
        marker = MARKER.fullmatch(token.content.strip()) if token.type == "html_block" else None
        reason = marker[1] if marker else ""
    return found


def commands(text: str) -> list[str]:
    """The commands of a block without their comments and without output; `a && b` are two."""
    lines = [
        line.removeprefix("$ ") for line in text.splitlines() if not text.startswith("$ ") or line.startswith("$ ")
    ]
    whole = [re.split(r"\s+#\s", line)[0].strip() for line in lines]
    return [part.strip() for line in whole for part in line.split("&&") if part.strip()]


def why_not(command: str) -> str:
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, command)), "")
