"""Starting `misread studio`: what it says, and what it refuses."""

import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from misread.data.drawings import keep_drawing
from misread.data.named import DIGIT_NAMES
from misread.errors import RunError
from misread.studio.runs import run_id
from misread.studio.server import PORT, TOKEN_FILE, address_of, make_access, open_socket
from samples import Result
from studio_process import start_studio

Cli = Callable[..., Result]


def taken_port() -> tuple[socket.socket, int]:
    found = socket.socket()
    found.bind(("127.0.0.1", 0))
    found.listen()
    return found, found.getsockname()[1]


def test_a_port_in_use_is_named_with_what_to_do(cli: Cli) -> None:
    holder, port = taken_port()
    with holder:
        result = cli("studio", "--no-browser", "--port", port)
    assert result.code == 2
    assert f"Port {port} of 127.0.0.1 is in use" in result.err
    assert "Choose another with --port" in result.err


def test_without_a_port_a_free_one_is_taken() -> None:
    with open_socket("127.0.0.1", None) as first, open_socket("127.0.0.1", None) as second:
        ports = [found.getsockname()[1] for found in (first, second)]
    assert ports[0] != ports[1]
    assert PORT not in ports[1:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mnits"], "Did you mean 'mnist'"), (["no/such/folder"], "There is no run and no data 'no/such/folder'"),
        (["last"], "There is no run in runs/ yet"), (["--lang", "de"], "There is no language 'de'. Use one of en, ko."),
        (["--port", "99999"], "99999 is not a port"), (["--host", "203.0.113.9"], "cannot listen on 203.0.113.9"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_named(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli("studio", "--no-browser", *arguments)
    assert result.code == 2
    assert said in result.err


def test_a_damaged_run_is_not_taken_for_data(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    result = cli("studio", "--no-browser", tmp_path)
    assert result.code == 2
    assert "incomplete" in result.err


def test_a_run_or_data_named_on_the_command_line_is_chosen(runs_folder: Path) -> None:
    run = sorted(path for path in runs_folder.iterdir() if not path.name.startswith("."))[0]
    for argument, selected, data in ((run, run_id(run), None), ("digits", None, "digits")):
        studio = start_studio(runs_folder, argument)
        try:
            with httpx.Client() as client:
                client.get(studio.url)
                state = client.get(f"{studio.origin}/api/state").json()
        finally:
            code = studio.stop(signal.SIGINT)
        assert code == 0
        assert state["data"] == data
        assert selected is None or state["selected"] == selected
        assert Path(state["runs_folder"]) == runs_folder.resolve()


def test_a_folder_of_runs_is_opened_with_the_newest_selected(runs_folder: Path, tmp_path: Path) -> None:
    studio = start_studio(runs_folder, runs_folder, "--out", tmp_path / "other", "--port", 0)
    try:
        with httpx.Client() as client:
            client.get(studio.url)
            state = client.get(f"{studio.origin}/api/state").json()
            runs = client.get(f"{studio.origin}/api/runs").json()
    finally:
        studio.stop()
    assert Path(state["runs_folder"]) == runs_folder.resolve()
    assert state["data"] is None
    assert len(runs) == 4
    assert state["selected"] == runs[0]["id"]


def test_drawings_of_ones_own_are_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MISREAD_DRAWINGS", str(tmp_path / "drawings"))
    keep_drawing("my-digits", DIGIT_NAMES, np.zeros((28, 28, 1), np.uint8), 7)
    studio = start_studio(tmp_path / "runs", "my-digits")
    try:
        with httpx.Client() as client:
            client.get(studio.url)
            assert client.get(f"{studio.origin}/api/trainings/choices").json()["chosen"] == "my-digits"
    finally:
        studio.stop()


def test_ctrl_c_ends_a_request_that_is_not_answered_without_a_traceback(
    runs_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    studio = start_studio(runs_folder)
    with httpx.Client() as client:
        client.get(studio.url)
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    address = urlsplit(studio.origin)
    lines = ["POST /api/trainings HTTP/1.1", f"Host: {address.netloc}", f"Origin: {studio.origin}"]
    lines += [
        f"Cookie: {cookies}",
        "Content-Type: application/json",
        "Content-Length: 100",
        "",
        '{"data":',
    ]  # the rest never comes
    with socket.create_connection((address.hostname, address.port)) as waiting:
        waiting.sendall("\r\n".join(lines).encode())
        time.sleep(0.2)
        assert studio.stop(signal.SIGINT) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_the_network_is_only_opened_with_a_warning_and_a_new_token(
    runs_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tokens = set()
    for _ in range(2):
        studio = start_studio(runs_folder, "--host", "0.0.0.0")
        try:
            tokens.add(studio.url.partition("token=")[2])
            answer = httpx.get(f"{studio.origin}/api/runs")
        finally:
            studio.stop()
        assert answer.status_code == 401
    assert len(tokens) == 2
    warning = capfd.readouterr().err
    assert "every machine that can reach 0.0.0.0 can connect" in warning
    assert "not encrypted" in warning


def test_the_token_is_kept_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISREAD_CACHE", str(tmp_path / "cache"))
    first = make_access("127.0.0.1", 1)
    path = tmp_path / "cache" / TOKEN_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_access("127.0.0.1", 2).token == first.token
    assert len(first.token) >= 43
    path.chmod(0o644)  # others could have read it
    assert make_access("127.0.0.1", 1).token != first.token
    assert make_access("0.0.0.0", 1).token not in (first.token, path.read_text())


def test_the_address_can_be_opened_on_this_machine() -> None:
    access = make_access("0.0.0.0", 8517)
    assert address_of(access, "ko") == f"http://127.0.0.1:8517/?token={access.token}&lang=ko"
    assert address_of(make_access("::1", 8517)).startswith("http://[::1]:8517/?token=")


def test_a_port_out_of_range_is_an_error() -> None:
    with pytest.raises(RunError, match="Ports are 0 to 65535"):
        open_socket("127.0.0.1", -1)
