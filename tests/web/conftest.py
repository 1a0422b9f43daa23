"""Fixtures: rooms on pages of their own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from room_site import Site


@pytest.fixture
def open_site(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page of a site. No test ends well whose page said something to the console or asked for anything else."""
    sites: list[Site] = []
    pages = []

    def open_page(site: Site, address: str, **more: Any) -> Any:
        sites.append(site)
        pages.append(site.open(browser, address, **more))
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()
    assert [fault for site in sites for fault in site.faults] == []
