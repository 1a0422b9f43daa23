"""The texts of the pages, by language."""

import json
import re
from collections.abc import Callable, Sequence
from importlib import resources

LANGUAGES = ("en", "ko")


def catalogue(language: str, subjects: Sequence[str] | None = None) -> dict[str, str]:
    """The texts of a language by their keys, from all files of `messages/<language>`. No two files have the same key.

    subjects: only keys that begin with one of these and a dot; by default all.
    """
    texts: dict[str, str] = {}
    for file in (resources.files("misread.web") / "messages" / language).iterdir():
        if file.name.endswith(".json"):
            texts |= json.loads(file.read_text(encoding="utf-8"))
    if subjects is None:
        return texts
    return {key: text for key, text in texts.items() if key.partition(".")[0] in subjects}


def translator(texts: dict[str, str]) -> Callable[..., str]:
    """A function (key, **values) -> text, as `translator` in shell/messages.js; whole numbers have commas."""

    def t(key: str, **values: object) -> str:
        text = texts.get(f"{key}.one", texts[key]) if values.get("n") == 1 else texts[key]
        return re.sub(r"\{(\w+)\}", lambda place: _written(values[place[1]]), text)

    return t


def _written(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
