"""Hostile connections to a real server: each gets an error or is closed, and the server goes on answering."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import misread
from misread.serve import connections, guard, work
from samples import blocks
from served import INFER, Running, Serve, error_of, known_model, known_probs, post, read_all, status_of


@pytest.fixture
def server(serving: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with little patience."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.4)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.4)
    found = serving()
    yield found
    assert found.is_alive()
    kept = found.app.state.work
    deadline = time.monotonic() + 10
    while (kept.bytes or kept.pending) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert kept.bytes == kept.pending == 0


HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127", b"\r\n\r\n"])
def test_silence_before_the_end_of_the_headers_ends_the_connection(server: Running, sent: bytes) -> None:
    assert status_of(server.exchange(sent)) in (400, 408)


def test_headers_that_drip_are_ended_although_something_arrives_all_the_time(server: Running) -> None:
    started = time.monotonic()
    answer = server.exchange(*[bytes([c]) for c in b"GET /v2 HTTP/1.1\r\nX-Long: " + b"a" * 200], pause=0.05)
    assert status_of(answer) in (0, 408)  # the answer is lost if the client goes on sending
    assert time.monotonic() - started < 8


def test_the_second_request_of_a_connection_may_not_drip_either(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in connection.recv(2**16)
        connection.sendall(b"GET /v2/health")
        assert status_of(read_all(connection)) == 408


@pytest.mark.parametrize(
    "sent",
    [
        post("/predict", b"\x89PNG", 1000),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nfff",
        HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_bodies_that_do_not_end_are_refused(server: Running, sent: bytes) -> None:
    answer = server.exchange(sent).removeprefix(b"HTTP/1.1 100 \r\n\r\n").removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert status_of(answer) == 408
    assert "did not arrive within" in error_of(answer)


def test_chunks_without_end_are_refused_when_they_are_too_large(server: Running) -> None:
    part = b"80000\r\n" + b"x" * 2**19 + b"\r\n"
    answer = server.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[part] * 40)
    assert status_of(answer) in (0, 413)


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"X: " + b"a" * 2**20 + b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: 0\r\nHost: evil\r\n\r\n",
    ],
)  # fmt: skip
def test_requests_that_are_no_http_are_refused(server: Running, sent: bytes) -> None:
    assert status_of(server.exchange(sent)) in (400, 413, 421, 501)


def test_a_client_that_leaves_in_the_middle_leaves_nothing(server: Running) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            connection.sendall(post("/predict", b"\x89PNG" * 1000, 8000))


def test_bodies_together_are_limited(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_BYTES", 1000)
    answer = server.exchange(post("/predict", b"x" * 2000))
    assert status_of(answer) == 503
    assert b"retry-after: 1" in answer
    assert "bodies of all requests together" in error_of(answer)


def test_too_many_connections_are_told_to_come_back(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    with socket.create_connection(("127.0.0.1", server.port), 20) as first:
        first.sendall(b"GET")
        time.sleep(0.1)
        answer = server.exchange()
        assert status_of(answer) == 503
        assert b"retry-after: 1" in answer
        assert status_of(read_all(first)) == 408


def held_model(release: threading.Event, started: threading.Semaphore):  # type: ignore[no-untyped-def]
    def probs(images: np.ndarray) -> np.ndarray:
        started.release()
        release.wait(20)
        return known_probs(images)

    return known_model(probs)


BLACK = b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 4, 6, 3], "data": [' + b"0," * 71 + b"0]}]}"


def test_above_the_concurrency_503_says_when_to_try_again(serving: Serve) -> None:
    release, started = threading.Event(), threading.Semaphore(0)
    server = serving(held_model(release, started), concurrency=1)
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(server.exchange(post(INFER, BLACK))))
    asking.start()
    assert started.acquire(timeout=20)
    refused = server.exchange(post(INFER, BLACK))
    assert status_of(refused) == 503
    assert b"retry-after: 1" in refused
    assert "1 predictions run or wait already" in error_of(refused)
    assert server.is_alive()
    release.set()
    asking.join(20)
    assert status_of(answers[0]) == 200
    assert status_of(server.exchange(post(INFER, BLACK))) == 200


def test_a_prediction_that_takes_too_long_is_answered_and_keeps_its_place(
    serving: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "ANSWER_SECONDS", 0.2)
    release, started = threading.Event(), threading.Semaphore(0)
    server = serving(held_model(release, started), concurrency=1)
    assert "took longer than" in error_of(server.exchange(post(INFER, BLACK)))
    assert "run or wait already" in error_of(server.exchange(post(INFER, BLACK)))  # its thread still works
    release.set()
    deadline = time.monotonic() + 10
    while server.app.state.work.pending and time.monotonic() < deadline:
        time.sleep(0.01)
    assert status_of(server.exchange(post(INFER, BLACK))) == 200


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = misread.ImageSet.from_arrays(*blocks(80), test=blocks(40, seed=1), name="blocks")
    layers = 'layers=[{type="Flatten"}, {type="Dense", units="classes"}]'
    out = tmp_path_factory.mktemp("served")
    return misread.train(data, "tutorial-mlp", epochs=1, settings=[layers], out=out, progress=False).folder


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_be_answered(run_folder: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-m", "misread", "serve", str(run_folder), "--port", "0", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(misread.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "}\n")
        port = int(next(line for line in lines if '"url"' in line).rpartition(":")[2].strip('",\n '))
        body = b'{"inputs": []}'
        request = post(f"/v2/models/{run_folder.name}/infer", body)
        with socket.create_connection(("127.0.0.1", port), 60) as connection:
            connection.sendall(request[:-5])
            time.sleep(0.5)
            process.send_signal(how)
            time.sleep(0.5)
            with pytest.raises(OSError):  # noqa: PT011
                socket.create_connection(("127.0.0.1", port), 0.5).close()
            connection.sendall(request[-5:])
            assert "inputs must be a list of one tensor" in error_of(read_all(connection))
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert '"status": 400' in log
