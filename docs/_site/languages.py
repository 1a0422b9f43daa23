"""Korean pages, named `PAGE.ko`: their language and the theme's words are Korean, and both link to each other."""

import re
from pathlib import Path
from typing import Any

import sphinx
from sphinx.application import Sphinx
from sphinx.locale import get_translator, init
from sphinx.search.en import SearchEnglish
from words import KOREAN

ENDING = ".ko"
HANGUL = re.compile("[가-힣]")
OTHER = {"en": ("한국어", "ko"), "ko": ("English", "en")}


class SearchBoth(SearchEnglish):
    """Search in English and Korean: Korean particles are written onto a word, so the beginnings of a word are found."""

    def split(self, text: str) -> list[str]:
        words = super().split(text)
        korean = [word for word in words if HANGUL.match(word)]
        return words + [word[:end] for word in korean for end in range(2, len(word))]


class Words:
    """gettext for templates: the theme's words that Sphinx's catalogue does not have come from `KOREAN`."""

    def __init__(self, catalogue: Any, extra: dict[str, str]) -> None:
        self.catalogue, self.extra = catalogue, extra

    def gettext(self, message: str) -> str:
        return self.extra.get(message) or self.catalogue.gettext(message)

    def ngettext(self, one: str, many: str, n: int) -> str:
        return self.catalogue.ngettext(one, many, n)


def translation(page: str, found: set[str]) -> str | None:
    """The same page in the other language, if there is one."""
    other = page.removesuffix(ENDING) if page.endswith(ENDING) else page + ENDING
    return other if other in found else None


def prepare(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    language = "ko" if page.endswith(ENDING) else "en"
    context["language"] = language
    other = translation(page, app.env.found_docs)
    context["translation"] = other and (app.builder.get_relative_uri(page, other), *OTHER[language])
    environment = app.builder.templates.environment
    environment.install_gettext_translations(app.korean if language == "ko" else app.english)


def load(app: Sphinx) -> None:
    folder = Path(sphinx.__file__).parent / "locale"
    catalogue, _ = init([folder], "ko", "sphinx", "_misread")
    app.korean = Words(catalogue, KOREAN)
    app.english = Words(get_translator("sphinx"), {})


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_search_language(SearchBoth)
    app.connect("builder-inited", load)
    app.connect("html-page-context", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
