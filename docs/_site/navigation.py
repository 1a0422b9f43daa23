"""The site's table of contents and the API reference, added to pages that stay plain Markdown in the repository."""

import inspect

from sphinx.application import Sphinx

import misread

CONTENTS = {
    "Start": ["lesson", "how-to", "command-line", "install"],
    "Guides": [
        "data", "recipes", "training", "distributed", "sweep", "analysis", "causes", "labels", "report", "studio",
        "export", "keras", "serve", "shards", "estimator", "eject", "cards", "hub", "trackers", "backbones",
        "run-folder", "faults", "scale",
    ],
    "Reference": ["api", "kernels", "log"],
    "한국어": ["시작하기 <index.ko>", "lesson.ko", "how-to.ko"],
}  # fmt: skip
# what a reader of `api` looks for first, then the rest
KINDS = ("Functions", "Classes", "Errors")
# these classes inherit methods that users call; the bases of the others belong to other packages
WITH_INHERITED = {"Run", "Predictions"}
GENERATED = "set_fit_request, set_score_request"  # methods by scikit-learn, whose text refers to pages of its own


def contents(found: set[str]) -> str:
    """Hidden `toctree` directives for those pages that are in `found`. An entry is a page, or `title <page>`."""
    trees = []
    for caption, pages in CONTENTS.items():
        names = [entry for entry in pages if entry.rpartition("<")[2].rstrip(">") in found]
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```", ""]))
    return "\n".join(trees)


def kind(name: str) -> str:
    value = getattr(misread, name)
    if not inspect.isclass(value):
        return "Functions"
    return "Errors" if issubclass(value, misread.MisreadError) else "Classes"


def reference() -> str:
    """Every public name with its docstring, grouped by kind."""
    text = []
    for heading in KINDS:
        text.append(f"\n## {heading}\n")
        for name in sorted(n for n in misread.__all__ if kind(n) == heading):
            directive = "autofunction" if heading == "Functions" else "autoclass"
            options = [] if heading == "Functions" else [":members:", f":exclude-members: {GENERATED}"]
            if name in WITH_INHERITED:
                options.append(":inherited-members: object")
            lines = [f".. {directive}:: misread.{name}", *(f"   {option}" for option in options)]
            text += [f"### {name}\n", "```{eval-rst}", *lines, "```", ""]
    return "\n".join(text)


def add(app: Sphinx, page: str, source: list[str]) -> None:
    if page == "index":
        source[0] += "\n" + contents(app.env.found_docs)
    elif page == "api":
        source[0] += "\n" + reference()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", add)
    return {"parallel_read_safe": True}
