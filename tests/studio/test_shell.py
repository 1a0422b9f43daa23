"""The frame of the studio in a real browser."""

from collections.abc import Callable
from typing import Any

Open = Callable[..., Any]


def test_page_opens_without_its_token_in_the_address(studio_page: Open) -> None:
    page = studio_page()
    assert "token" not in page.url
    page.reload()
    page.wait_for_selector("#main section")
