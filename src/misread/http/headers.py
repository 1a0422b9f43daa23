"""Headers that every answer has: what it allows a browser to do."""

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import Message

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def add_headers(start: Message, more: Mapping[str, str]) -> None:
    """Add `HEADERS` and `more` to the start of an answer, except those that it has already."""
    headers = MutableHeaders(scope=start)
    for name, value in {**HEADERS, **more}.items():
        headers.setdefault(name, value)
