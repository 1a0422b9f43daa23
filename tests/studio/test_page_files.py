"""The files of the page: each version of them has its own addresses, which a browser asks for once."""

import re
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from app_client import AppClient
from misread.studio import page_routes
from misread.studio.app import make_app
from misread.studio.security import Access

Open = Callable[..., Any]


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page's files, which the studio takes."""
    real = resources.files
    copy = Path(shutil.copytree(str(real("misread.web")), tmp_path / "web"))
    monkeypatch.setattr(page_routes.resources, "files", lambda name: copy if name == "misread.web" else real(name))
    return copy


@pytest.fixture
def client(web: Path, tmp_path: Path) -> AppClient:
    found = AppClient(make_app(tmp_path, Access("t", "127.0.0.1", 1)), "http://127.0.0.1:1")
    assert found.get("/?token=t").status_code == 200
    return found


def start_address(client: AppClient) -> str:
    """Of the page's script."""
    (found,) = re.findall(r'src="([^"]+)"', client.get("/").text)
    return found


def test_a_version_lasts_and_another_has_other_addresses(client: AppClient, web: Path) -> None:
    address = start_address(client)
    answer = client.get(address)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.text == (web / "shell/start.js").read_text()
    assert start_address(client) == address
    (web / "rooms/draw.js").write_text("// another room\n")
    assert client.get(address).text == answer.text, "the page that is open keeps its version"
    other = start_address(client)
    assert other != address
    assert client.get(other.replace("shell/start", "rooms/draw")).text == "// another room\n"
    late = client.get(address.replace("shell/start", "rooms/draw"))  # by the page of the version before
    assert late.text == "// another room\n"
    assert late.headers["cache-control"] == "no-cache"
    assert client.get(address.replace("shell/start", "rooms/none")).status_code == 404


def test_an_address_without_a_version_is_asked_again(client: AppClient, web: Path) -> None:
    for name in ("shell/start.js", "style.css"):
        answer = client.get(f"/web/{name}")
        assert answer.headers["cache-control"] == "no-cache"
        known = {"if-none-match": answer.headers["etag"]}
        assert client.get(f"/web/{name}", headers=known).status_code == 304
    (web / "shell/start.js").write_text("// changed\n")
    assert client.get("/web/shell/start.js", headers=known).text == "// changed\n"


def test_a_page_that_is_opened_again_gets_no_file_anew(studio_page: Open) -> None:
    page = studio_page("room=runs")
    script = """() => performance.getEntriesByType("resource")
        .filter((one) => one.name.includes("/web-")).map((one) => one.transferSize > 0)"""
    page.wait_for_selector("#runs-table")
    assert any(page.evaluate(script))
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#runs-table")
    again = page.evaluate(script)
    assert len(again) > 10
    assert not any(again)
