"""Patterns of paths, as in a shell: `{000..019}` and `{a,b}` are names, `*`, `?` and `[...]` match files that exist."""

import glob
import os
import re
from collections.abc import Iterator

from misread.data.locations import is_url
from misread.errors import DataError

MOST_NAMES = 1_000_000  # of one pattern: more are taken for a slip of the pen

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_pattern(pattern: str) -> list[str]:
    """The paths or URLs that a pattern stands for, in the order of its braces; the files of a wildcard by their names.

    A number in braces keeps the width of its range's start or end. Braces without a range or a comma, and wildcards in
    URLs and in names of files that exist, stay as they are.
    Raises DataError: a range that ends before it starts, a wildcard without a file, or more than `MOST_NAMES` names.
    """
    return [path for name in _expand_braces(pattern) for path in _matches(name)]


def _matches(name: str) -> list[str]:
    if is_url(name) or not glob.has_magic(name) or os.path.lexists(name):
        return [name]
    found = sorted(glob.glob(name))
    if not found:
        raise DataError(f"No file matches {name}.")
    return found


def _expand_braces(pattern: str) -> list[str]:
    names = []
    for name in _expand(pattern):
        names.append(name)
        if len(names) > MOST_NAMES:
            raise DataError(f"{pattern} stands for more than {MOST_NAMES:,} names. Give it in parts.")
    return names


def _expand(pattern: str, start: int = 0) -> Iterator[str]:
    match = _BRACES.search(pattern, start)
    if match is None:
        yield pattern
    elif (choices := _choices(match[1], pattern)) is None:
        yield from _expand(pattern, match.end())
    else:
        for choice in choices:
            yield from _expand(pattern[: match.start()] + choice + pattern[match.end() :], match.start() + len(choice))


def _choices(inside: str, pattern: str) -> Iterator[str] | list[str] | None:
    """What one pair of braces stands for; None if it stands for itself."""
    if numbers := _RANGE.fullmatch(inside):
        first, last = numbers.groups()
        if int(first) > int(last):
            raise DataError(f"{pattern}: the range {{{inside}}} ends before it starts. Write {{{last}..{first}}}.")
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) and len(first + last) > 2 else 0
        return (f"{number:0{width}}" for number in range(int(first), int(last) + 1))
    return inside.split(",") if "," in inside else None
