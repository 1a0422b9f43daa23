"""Texts in all languages: what pages say, and what the analysis says about a run."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Self

LANGUAGES = ("en", "ko")

Translate = Callable[..., str]


def catalogue(language: str, subjects: Sequence[str] | None = None) -> dict[str, str]:
    """The texts of a language by their keys, from all files of `messages/<language>`. No two files have the same key.

    subjects: only keys that begin with one of these and a dot; by default all.
    """
    texts: dict[str, str] = {}
    for file in (resources.files("misread.messages") / language).iterdir():
        if file.name.endswith(".json"):
            texts |= json.loads(file.read_text(encoding="utf-8"))
    if subjects is None:
        return texts
    return {key: text for key, text in texts.items() if key.partition(".")[0] in subjects}


def translator(texts: Mapping[str, str]) -> Translate:
    """A function (key, **values) -> text, as `translator` in shell/messages.js.

    Whole numbers have commas. A value that is a `Message` is said in the same language, a list of values with commas
    between them.
    """

    def written(value: object) -> str:
        if isinstance(value, Message):
            return t(value.key, **value.values)
        if isinstance(value, (list, tuple)):
            return ", ".join(map(written, value))
        return f"{value:,}" if isinstance(value, int) else str(value)

    def t(key: str, **values: object) -> str:
        text = texts.get(f"{key}.one", texts[key]) if values.get("n") == 1 else texts[key]
        return re.sub(r"\{(\w+)\}", lambda place: written(values[place[1]]), text)

    return t


class Message(str):
    """An English text that a page can say in its own language.

    key: of the text in the catalogue. values: for its places; they may be messages too, or lists.
    """

    key: str
    values: dict[str, Any]

    def __new__(cls, key: str, **values: Any) -> Self:
        message = super().__new__(cls, _english()(key, **values))
        message.key, message.values = key, values
        return message

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        return (self.key,), self.values


def say(text: str, t: Translate) -> str:
    """A text in the language of `t`; one that is no message stays as it is."""
    return t(text.key, **text.values) if isinstance(text, Message) else text


def plain(value: Any) -> Any:
    """A message as JSON has it for shell/messages.js: {key, values}. Other values stay as they are."""
    if isinstance(value, Message):
        return {"key": value.key, "values": {name: plain(one) for name, one in value.values.items()}}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def recognised(text: str, *subjects: str) -> str:
    """The message of these subjects that has this English text, or the text itself if there is none.

    For texts that were kept, as run.json keeps them. A list in it is recognised if all its parts are.
    """
    for key, pattern in _patterns(subjects):
        if found := pattern.fullmatch(text):
            return Message(key, **{name: _parts(value, subjects) for name, value in found.groupdict().items()})
    return text


def _parts(text: str, subjects: tuple[str, ...]) -> Any:
    """The text as a list of messages, as one message, or as it is."""
    parts = [recognised(part, *subjects) for part in text.split(", ")]
    return parts if all(isinstance(part, Message) for part in parts) else recognised(text, *subjects)


@cache
def _english() -> Translate:
    return translator(catalogue("en"))


@cache
def _patterns(subjects: tuple[str, ...]) -> list[tuple[str, re.Pattern[str]]]:
    """The texts of subjects as patterns: those that begin with words first, and of these the longest."""

    def order(pair: tuple[str, str]) -> tuple[bool, int]:
        return pair[1].startswith("{"), -len(re.sub(r"\{\w+\}", "", pair[1]))

    texts = sorted(catalogue("en", subjects).items(), key=order)
    return [(key, re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(text)))) for key, text in texts]
