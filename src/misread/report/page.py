"""The page: template, style, script and data in one file."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from misread.errors import RunError
from misread.files import write_bytes
from misread.report.diagrams import heat
from misread.version import __version__
from misread.web.messages import LANGUAGES, catalogue, translator
from misread.web.modules import bundle, source

SECTIONS = (
    "headline", "causes", "advice", "confusion", "gallery", "comparison", "doubtful", "classes", "confidence",
    "training", "facts", "files", "changed", "playground",
)  # fmt: skip
STYLES = ("style/tokens.css", "style/components.css")
PLAYGROUND_STYLES = ("style/room.css", "style/draw.css", "style/inside.css")
SCRIPT, PLAYGROUND_SCRIPT = "components/page.js", "playground/report.js"
SHARED_TEXTS = ("cause", "facts", "gallery", "report", "tile")  # keys of messages begin with these


@dataclass
class Page:
    """A page. Sections that are missing or None are not on it.

    data:     read by the page's script. sections: read by the template, by name.
    language: of the page's own words, one of `LANGUAGES`.
    """

    title: str
    subtitle: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    language: str = "en"

    def html(self) -> str:
        from jinja2 import Environment, StrictUndefined  # only who writes a report waits for it

        own = files("misread.report")
        texts = _texts(self.language)
        t = _template_texts(texts)
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"percent": _percent, "count": lambda n: f"{n:,}", "plural": plural}
        environment.globals |= {
            "heat": heat,
            "max": max,
            "t": t,
            "cause_name": lambda cause: texts[f"cause.{cause.replace(' ', '-')}"],
            "fact_name": lambda name: texts.get(f"report.fact.{name.lower().replace(' ', '-')}", name),
        }
        playground = self.sections.get("playground")
        styles = STYLES + (PLAYGROUND_STYLES if playground else ())
        template = environment.from_string((own / "page.html").read_text(encoding="utf-8"))
        return template.render(
            language=self.language,
            title=self.title,
            subtitle=self.subtitle,
            notes=self.notes,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
            style=Markup("\n".join(map(source, styles))),
            script=Markup(bundle(PLAYGROUND_SCRIPT if playground else SCRIPT)),
            data=Markup(as_json({**self.data, "texts": texts, "language": self.language})),
            **dict.fromkeys(SECTIONS) | self.sections,
        )

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all; returns the path. Raises RunError: the file cannot be written."""
        try:
            write_bytes(path, self.html().encode(errors="replace"))  # a file name may be no UTF-8
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}.") from None
        return path


def _template_texts(texts: dict[str, str]) -> Callable[..., Markup]:
    """The texts for the template: values are escaped unless they are markup."""
    translate = translator(texts)

    def t(key: str, **values: object) -> Markup:
        plain = {name: escape(value) if isinstance(value, str) else value for name, value in values.items()}
        return Markup(translate(key, **plain))

    return t


def _texts(language: str) -> dict[str, str]:
    """The texts of the page and of the components it shares with the studio. Raises RunError: not this language."""
    if language not in LANGUAGES:
        raise RunError(f"There is no page in the language {language!r}. Choose one of {', '.join(LANGUAGES)}.")
    return catalogue(language, SHARED_TEXTS)


def as_json(value: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so U+2028 and U+2029 are escaped already
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}%"


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
