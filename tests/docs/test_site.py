"""The site: it builds without a warning, its links lead somewhere, and its pages and search need no network."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from code_blocks import ROOT

import misread

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "--doctree-dir",
        out / "doctrees",
    ]
    done = subprocess.run([*map(str, command), str(DOCS), str(out / "html")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / "html"


class Page(HTMLParser):
    """links: what the page leads to; loads: what it needs to be shown; ids: its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.language = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.ids.add(values.get("id", ""))
        if tag == "html":
            self.language = values.get("lang", "")
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if "src" in values:
            self.loads.add(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "shortcut icon"):
            self.loads.add(values["href"])


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {str(path.relative_to(site)): Page(path) for path in site.glob("*.html")}


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    assert len(pages) > 15
    for name, page in pages.items():
        for link in page.links | page.loads:
            url = urlsplit(link)
            if url.scheme:
                assert url.scheme == "data" or link not in page.loads, f"{name} loads {link}"
                continue
            target = unquote(url.path) or name
            assert (site / target).is_file(), f"{name}: {link}"
            if url.fragment and target in pages:
                assert unquote(url.fragment) in pages[target].ids, f"{name}: {link}"


def test_every_guide_is_in_the_contents(pages: dict[str, Page]) -> None:
    for page in [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]:
        assert f"{page.stem}.html" in {urlsplit(link).path for link in pages["search.html"].links} | {"index.html"}, (
            page.name
        )


@pytest.mark.parametrize("start", ["index.md", "index.ko.md"])
def test_every_guide_has_a_row_on_the_start_page(start: str) -> None:
    text = (DOCS / start).read_text()
    for page in DOCS.glob("*.md"):
        translated = (DOCS / f"{page.stem}.ko.md").exists() and start == "index.ko.md"
        if not page.stem.startswith("index") and not page.stem.endswith(".ko") and not translated:
            assert f"({page.name})" in text, page.name


def test_the_reference_has_every_public_name(pages: dict[str, Page], site: Path) -> None:
    ids = pages["api.html"].ids
    for name in misread.__all__:
        value = getattr(misread, name)
        assert f"misread.{name}" in ids
        if inspect.isclass(value):
            for member, thing in vars(value).items():
                if not member.startswith("_") and inspect.isfunction(thing) and member != "model_post_init":
                    assert f"misread.{name}.{member}" in ids
    text = (site / "api.html").read_text()
    for argument in inspect.signature(misread.train).parameters:
        assert f">{argument}</span>" in text
    assert "{" + "toctree" not in text


def test_pages_of_both_languages_lead_to_each_other(pages: dict[str, Page]) -> None:
    korean = [name for name in pages if name.endswith(".ko.html")]
    assert {"index.ko.html", "how-to.ko.html"} <= set(korean)
    for name, page in pages.items():
        assert page.language == ("ko" if name in korean else "en"), name
    for name in korean:
        english = name.replace(".ko.html", ".html")
        assert english in pages[name].links
        assert name in pages[english].links
    for translated in {*DOCS.glob("*.ko.*")} - {DOCS / "index.ko.md"}:
        assert f"{translated.stem}.html" in pages["index.ko.html"].links, (
            f"docs/index.ko.md has no link to {translated.name}"
        )


@pytest.fixture
def visit(browser: Any, site: Path) -> Iterator[Any]:
    """Opens a page of the site from disk, at a width and in a theme. Nothing else may be requested."""
    contexts, faults = [], []

    def open_page(name: str, width: int = 1280, theme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.set_default_navigation_timeout(300_000)  # where other work holds the machine
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: r.url.startswith((site.as_uri(), "data:")) or faults.append(r.url))
        page.goto(f"{site.as_uri()}/{name}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def test_search_finds_pages_in_both_languages_and_names_of_the_reference(visit: Any) -> None:
    for query, wanted in (("calibration", "analysis.html"), ("train_seeds", "api.html"), ("레시피", "how-to.ko.html")):
        page = visit(f"search.html?q={query}")
        page.wait_for_selector(f'#search-results a[href^="{wanted}"]')


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), pytest.param(1280, "light", marks=pytest.mark.slow)])
def test_no_page_is_wider_than_the_window(
    visit: Any, site: Path, pages: dict[str, Page], width: int, theme: str
) -> None:
    page = visit("index.html", width, theme)
    for name in pages:
        page.goto(f"{site.as_uri()}/{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
