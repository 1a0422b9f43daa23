"""Fixtures: a page that has the network's modules, in a browser."""

from collections.abc import Iterator
from typing import Any

import pytest
from network_pages import NetworkPage

from pages import watch


@pytest.fixture
def page(browser: Any) -> Iterator[NetworkPage]:
    context = browser.new_context()
    context.set_default_timeout(600_000)  # where other work holds the machine
    opened = context.new_page()
    faults: list[str] = []
    watch(opened, faults)
    yield NetworkPage(opened)
    context.close()
    assert faults == []
