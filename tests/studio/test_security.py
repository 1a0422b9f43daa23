"""Attacks on the studio: each is refused before any part of it sees the request."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app_client import AppClient, in_parts
from misread.studio import security
from misread.studio.app import make_app
from misread.studio.security import MAX_BODY_BYTES, Access

TOKEN = "right-" * 8
HOST = "127.0.0.1:8517"
OWN = {"origin": f"http://{HOST}", "content-type": "application/json"}


def client_of(folder: Path, host: str = "127.0.0.1") -> AppClient:
    app = make_app(folder, Access(TOKEN, host, 8517))
    return AppClient(app, f"http://{HOST}")


@pytest.fixture
def stranger(tmp_path: Path) -> AppClient:
    """A client without the token."""
    return client_of(tmp_path)


@pytest.fixture
def user(stranger: AppClient) -> AppClient:
    """A client that has opened the address that was printed."""
    assert stranger.get(f"/?token={TOKEN}").status_code == 200
    return stranger


ADDRESSES = [
    "/",
    "/api/state",
    "/api/runs",
    "/web/shell/start.js",
    "/web-0/shell/start.js",
    "/web/style.css",
    "/messages/en",
    "/reports/x",
    "/no",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_is_answered_without_the_token(stranger: AppClient, address: str) -> None:
    for wrong in ("", "?token=", "?token=wrong", "?token=é", f"?token={TOKEN[:-1]}", f"?token={TOKEN}x"):
        answer = stranger.get(address + wrong)
        assert answer.status_code == 401
        assert "Open the address that `misread studio` printed" in answer.text
        assert "set-cookie" not in answer.headers
    stranger.cookies.set("misread-studio-8517", "wrong")
    assert stranger.get(address).status_code == 401


def test_the_token_counts_in_the_first_address_only(stranger: AppClient) -> None:
    assert stranger.get(f"/api/runs?token={TOKEN}").status_code == 401
    assert stranger.post(f"/?token={TOKEN}", headers=OWN, json={}).status_code == 401


def test_the_cookie_is_hidden_from_scripts_and_other_sites(stranger: AppClient) -> None:
    cookie = stranger.get(f"/?token={TOKEN}").headers["set-cookie"]
    assert cookie.startswith("misread-studio-8517=")
    assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}
    assert stranger.get("/api/runs").json() == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8517", "127.0.0.1.evil.example", "localhost.evil.example:8517",
             "192.168.1.7:8517", "[2001:db8::1]:8517", "", "127.0.0.1@evil.example"]
)  # fmt: skip
def test_a_rebound_domain_name_is_refused_even_with_the_token(user: AppClient, host: str) -> None:
    answer = user.get("/api/runs", headers={"host": host})
    assert answer.status_code == 421
    assert "Host header" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8517", "127.0.0.1:9000", "[::1]:8517", "LOCALHOST"])
def test_names_of_this_machine_are_accepted(user: AppClient, host: str) -> None:
    cookie = f"misread-studio-8517={TOKEN}"  # the client sends none to another host
    assert user.get("/api/runs", headers={"host": host, "cookie": cookie}).status_code == 200


def test_on_the_network_numbers_are_accepted_and_domain_names_are_not(tmp_path: Path) -> None:
    client = client_of(tmp_path, host="0.0.0.0")
    cookie = {"cookie": f"misread-studio-8517={TOKEN}"}
    assert client.get("/api/runs", headers={"host": "192.168.1.7:8517"}).status_code == 401
    assert client.get("/api/runs", headers={"host": "192.168.1.7:8517", **cookie}).status_code == 200
    assert client.get("/api/runs", headers={"host": "evil.example", **cookie}).status_code == 421


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "https://127.0.0.1:8517", "http://127.0.0.1:8518",
               "http://localhost:8517", "http://127.0.0.1:8517.evil.example"]
)  # fmt: skip
def test_posts_from_other_sites_are_refused(user: AppClient, origin: str | None) -> None:
    headers = {"content-type": "application/json", **({"origin": origin} if origin else {})}
    answer = user.post("/api/runs/x/delete", headers=headers, content="{}")
    assert answer.status_code == 403
    assert answer.json()["error"] == "The request comes from another site."


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_forms_are_refused(user: AppClient, kind: str) -> None:
    answer = user.post("/api/runs/x/delete", headers={**OWN, "content-type": kind}, content="{}")
    assert answer.status_code == 415


def test_large_bodies_are_refused_by_their_announced_and_by_their_true_size(user: AppClient) -> None:
    address, body = "/api/runs/x/rename", b" " * (MAX_BODY_BYTES + 1)
    assert user.post(address, headers=OWN, content=body).status_code == 413
    parts = in_parts(body[i : i + 65536] for i in range(0, len(body), 65536))
    answer = user.post(address, headers=OWN, content=parts)
    assert answer.status_code == 413
    assert answer.json()["error"] == "The body is larger than 4 MiB."
    assert user.post(address, headers={**OWN, "content-length": "-5"}, content=b"{}").status_code == 413


def raw(app: Any, method: str, path: str, receive: Any = None) -> tuple[int, bytes]:
    """The answer to a request by the user, whose path no client has made harmless."""
    headers = {**OWN, "host": HOST, "cookie": f"misread-studio-8517={TOKEN}"}
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "scheme": "http", "server": ("127.0.0.1", 8517), "client": None, "root_path": "", "http_version": "1.1",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    sent: list[Any] = []

    async def whole_body() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"title": "x"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive or whole_body, send), 60))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_a_slow_body_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_SECONDS", 0.05)
    first = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> dict[str, Any]:
        for message in first:
            return message
        await asyncio.sleep(600)
        raise AssertionError("the studio waited for the rest")

    app = make_app(tmp_path, Access(TOKEN, "127.0.0.1", 8517))
    status, body = raw(app, "POST", "/api/runs/x/rename", receive)
    assert status == 408
    assert "did not arrive" in json.loads(body)["error"]


@pytest.mark.parametrize(
    "id", ["..", "../..", "../secret", "..%2fsecret", "%2e%2e/secret", "..\\secret", "/etc/passwd", ".trash", "secret",
           "runs", "\x00", "", "a" * 100_000]
)  # fmt: skip
def test_ids_never_become_paths(tmp_path: Path, id: str) -> None:
    runs, secret = tmp_path / "runs", tmp_path / "secret"
    for folder in (runs, secret):
        folder.mkdir()
    for name in ("run.json", "recipe.toml", "report.html", "predictions-test.npz", "start.js"):
        (secret / name).write_text("SECRET")
    app = make_app(runs, Access(TOKEN, "127.0.0.1", 8517))
    parts = ("", "/model", "/images/test", "/labels/test", f"/labels/{id}")
    for path in (*(f"/api/runs/{id}{part}" for part in parts), f"/reports/{id}", f"/web/{id}", f"/messages/{id}"):
        status, body = raw(app, "GET", path)
        assert status == 404 or (id == "" and status == 307)
        assert b"SECRET" not in body
    for change in ("delete", "restore", "rename"):
        assert raw(app, "POST", f"/api/runs/{id}/{change}")[0] in (404, 405)
    assert len(list(secret.iterdir())) == 5
    assert list(runs.iterdir()) == []


def test_web_files_are_only_those_of_the_package(user: AppClient) -> None:
    assert user.get("/web/shell/start.js").headers["content-type"].startswith("text/javascript")
    for name in ("messages.py", "../studio/app.py", "%2e%2e/studio/app.py", "messages/en/shell.json", "", "shell"):
        answer = user.get(f"/web/{name}")
        assert answer.status_code == 404


def test_every_answer_has_the_security_headers(user: AppClient, stranger: AppClient) -> None:
    refused = stranger.get("/api/runs", headers={"host": "evil.example"})
    for answer in (user.get("/"), user.get("/api/runs"), user.get("/no"), user.get("/web/shell/start.js"), refused):
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["style-src"] == "'self'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"  # WebAssembly, and no text as script
        assert policy["img-src"] == "'self' data: blob:"
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def test_bodies_that_are_no_json_object_are_refused_with_a_reason(user: AppClient) -> None:
    for body, reason in [
        (b"{", "The body is not JSON."), (b"\xff", "The body is not JSON."), (b"[]", "must be a JSON object"),
        (b"[" * 100_000, "not JSON"), (b"{}", "title must be a text"), (b'{"title": 7}', "title must be a text"),
        (json.dumps({"title": "x" * 121}).encode(), "title has 121 characters; 120 are allowed"),
    ]:  # fmt: skip
        answer = user.post("/api/runs/x/rename", headers=OWN, content=body)
        assert answer.status_code == 400
        assert reason in answer.json()["error"]
