"""The texts of the pages, by language."""

import json
from importlib import resources

LANGUAGES = ("en", "ko")


def catalogue(language: str) -> dict[str, str]:
    """Every text of a language by its key, from all files of `messages/<language>`. No two files have the same key."""
    texts: dict[str, str] = {}
    for file in (resources.files("misread.web") / "messages" / language).iterdir():
        if file.name.endswith(".json"):
            texts |= json.loads(file.read_text(encoding="utf-8"))
    return texts
