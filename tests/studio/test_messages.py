"""The texts of the pages: both languages have the same, and every text that a page asks for exists."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import misread.messages
import misread.web
from misread.messages import LANGUAGES, catalogue, recognised
from misread.training.recipe import load_recipe, recipe_names

WEB = Path(misread.web.__file__).parent
MESSAGES = Path(misread.messages.__file__).parent
FILES = sorted(path.name for path in (MESSAGES / "en").glob("*.json"))
SCRIPTS = sorted(WEB.rglob("*.js"))


def texts_in(language: str, name: str) -> dict[str, str]:
    pairs: list[tuple[str, str]] = json.loads(
        (MESSAGES / language / name).read_text(encoding="utf-8"), object_pairs_hook=list
    )
    assert len(dict(pairs)) == len(pairs), f"{name} has a key twice"
    return dict(pairs)


def places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_languages_have_the_same_files() -> None:
    assert FILES
    for language in LANGUAGES:
        assert sorted(path.name for path in (MESSAGES / language).glob("*.json")) == FILES


@pytest.mark.parametrize("name", FILES)
def test_languages_have_the_same_keys_and_places(name: str) -> None:
    english, korean = texts_in("en", name), texts_in("ko", name)
    assert sorted(english) == sorted(korean)
    for key, text in english.items():
        assert text.strip(), key
        assert korean[key].strip(), key
        if key.endswith(".one"):  # it is said for one, so it may leave the number out
            assert places(text) | {"n"} == places(korean[key]) | {"n"}, key
        else:
            assert places(text) == places(korean[key]), key


def test_no_two_files_have_the_same_key() -> None:
    for language in LANGUAGES:
        keys = [key for name in FILES for key in texts_in(language, name)]
        assert len(keys) == len(set(keys))
        assert sorted(catalogue(language)) == sorted(keys)


def asked(script: str) -> Iterator[str]:
    """The keys in calls of t("..."), and in strings that look like a key of the file's own subject."""
    yield from re.findall(r"""\bt\(\s*["']([\w.-]+)["']""", script)
    yield from re.findall(r"""keys\.add\([^,]+,\s*["']([\w.-]+)["']""", script)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(WEB).as_posix())
def test_every_text_that_a_script_asks_for_exists(path: Path) -> None:
    known = catalogue("en")
    script = path.read_text(encoding="utf-8")
    assert [key for key in asked(script) if key not in known] == []
    for beginning in re.findall(r"\bt\(\s*`([\w.-]+\.)\$\{", script):  # t(`room.${id}`)
        assert any(key.startswith(beginning) for key in known), beginning


def test_a_planted_unknown_key_is_found() -> None:
    script = 'const { t } = studio; t("no.such-key", {n: 1}); studio.keys.add("x", "no.key", f); format("a.b")'
    assert list(asked(script)) == ["no.such-key", "no.key"]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_described_in_the_catalogue_as_in_its_file(name: str) -> None:
    assert recognised(load_recipe(name).description, "recipe").key == f"recipe.{name}"
