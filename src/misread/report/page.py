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
from misread.messages import LANGUAGES, Translate, catalogue, recognised, say, translator
from misread.report.diagrams import heat
from misread.version import __version__
from misread.web.modules import bundle, source

SECTIONS = (
    "headline", "causes", "advice", "confusion", "gallery", "comparison", "doubtful", "classes", "confidence",
    "training", "facts", "files", "changed", "playground", "job", "doubts", "unsure", "read_as",
)  # fmt: skip
STYLES = ("style/tokens.css", "style/components.css")
PLAYGROUND_STYLES = ("style/room.css", "style/draw.css", "style/inside.css")
SCRIPT, PLAYGROUND_SCRIPT = "components/page.js", "playground/report.js"
SHARED_TEXTS = (
    "cause",
    "evidence",
    "facts",
    "gallery",
    "picture",
    "report",
    "tile",
)  # keys of messages begin with these


@dataclass
class Page:
    """A page. Sections that are missing or None are not on it.

    data:     read by the page's script. sections: read by the template, by name.
    language: one of `LANGUAGES`. Texts that are messages are said in it.
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
        texts = texts_of(self.language)
        translate = translator(texts)
        shared = {key: text for key, text in texts.items() if key.partition(".")[0] in SHARED_TEXTS}
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        environment.filters |= {"percent": _percent, "count": lambda n: f"{n:,}"}
        environment.filters |= {
            "said": lambda text: say(text, translate),
            "split_name": lambda split: recognised(split, "split"),
        }
        environment.globals |= {
            "heat": heat,
            "max": max,
            "t": _template_texts(translate),
            "cause_name": lambda cause: texts[f"cause.{cause.replace(' ', '-')}"],
            "column_name": lambda name: texts.get(f"report.column.{name.replace('_', '-')}", name),
            "fact_name": lambda name: texts.get(f"report.fact.{name.lower().replace(' ', '-')}", name),
        }
        playground = self.sections.get("playground")
        styles = STYLES + (PLAYGROUND_STYLES if playground else ())
        template = environment.from_string((own / "page.html").read_text(encoding="utf-8"))
        return template.render(
            language=self.language,
            title=say(self.title, translate),
            subtitle=say(self.subtitle, translate),
            notes=[say(note, translate) for note in self.notes],
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            version=__version__,
            style=Markup("\n".join(map(source, styles))),
            script=Markup(bundle(PLAYGROUND_SCRIPT if playground else SCRIPT)),
            data=Markup(as_json({**self.data, "texts": shared, "language": self.language})),
            **dict.fromkeys(SECTIONS) | self.sections,
        )

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all; returns the path. Raises RunError: the file cannot be written."""
        try:
            write_bytes(path, self.html().encode(errors="replace"))  # a file name may be no UTF-8
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror}.") from None
        return path


def _template_texts(translate: Translate) -> Callable[..., Markup]:
    """The texts for the template: values are said in its language, and escaped unless they are markup."""

    def written(value: object) -> object:
        if isinstance(value, dict):  # a plain message, as the page's script reads it
            return escape(translate(value["key"], **value["values"]))
        return escape(say(value, translate)) if isinstance(value, str) else value

    def t(key: str, **values: object) -> Markup:
        return Markup(translate(key, **{name: written(value) for name, value in values.items()}))

    return t


def texts_of(language: str) -> dict[str, str]:
    """All texts in a language. Raises RunError: not this language."""
    if language not in LANGUAGES:
        raise RunError(f"There is no language {language!r}. Use one of {', '.join(LANGUAGES)}.")
    return catalogue(language)


def as_json(value: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so U+2028 and U+2029 are escaped already
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{100 * value:.{digits}f}%"
