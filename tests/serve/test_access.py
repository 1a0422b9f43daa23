"""Who is answered: tokens, hosts, pages of other sites; and what is logged and counted."""

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from app_client import AppClient, in_parts
from misread.errors import RunError
from misread.serve.app import make_app
from misread.serve.guard import MAX_BODY_BYTES, Access
from misread.serve.logs import JsonLines
from misread.serve.server import check_access, check_name
from served import HOST, INFER, known_model, tensor

TOKEN = "right-" * 4
ADDRESSES = [("GET", "/v2"), ("GET", "/v2/models/halves"), ("GET", "/metrics"), ("POST", "/predict"), ("POST", INFER)]


@pytest.fixture
def secured() -> AppClient:
    return AppClient(make_app(known_model(), Access("0.0.0.0", TOKEN)), f"http://{HOST}")


@pytest.mark.parametrize(("method", "address"), ADDRESSES)
def test_without_the_token_only_health_and_the_description_are_answered(
    secured: AppClient, method: str, address: str
) -> None:
    for given in ("", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN):
        answer = secured.request(method, address, headers={"authorization": given})
        assert answer.status_code == 401
        assert "Authorization: Bearer TOKEN" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"
    wrong = {"authorization": b"Bearer \xe9"}
    assert secured.request(method, address, headers=wrong).status_code == 401
    for open_address in ("/v2/health/live", "/v2/health/ready", "/", "/openapi.json"):
        answer = secured.get(open_address)
        assert answer.status_code == 200
        assert "halves" not in answer.text


def test_the_token_lets_in_under_any_host_name(secured: AppClient) -> None:
    headers = {"authorization": f"bearer {TOKEN}", "host": "models.example"}
    assert secured.get("/v2/models/halves", headers=headers).status_code == 200


def test_without_a_token_pages_of_other_sites_are_refused(client: AppClient) -> None:
    assert client.get("/v2", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/v2", headers={"host": "127.0.0.1.evil.example"}).status_code == 421
    assert client.post("/predict", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/predict", headers={"origin": "null"}).status_code == 403
    assert client.get("/v2", headers={"origin": f"http://{HOST}"}).status_code == 200
    assert client.get("/v2", headers={"host": "localhost:9"}).status_code == 200


@pytest.mark.parametrize("address", ["/predict", INFER])
def test_large_bodies_are_refused_by_their_stated_and_by_their_real_length(client: AppClient, address: str) -> None:
    large = b"x" * (MAX_BODY_BYTES + 1)
    for options in ({"content": large}, {"content": in_parts([large[: 2**20]] * 9)}):
        answer = client.post(address, **options)
        assert answer.status_code == 413
        assert answer.json()["error"] == "The body is larger than 8 MiB."
        assert answer.headers["connection"] == "close"
    for length in ("-1", "1e3", "9" * 50, "x"):
        assert client.post(address, content=b"", headers={"content-length": length}).status_code == 413


def test_answers_cannot_be_framed_or_sniffed(client: AppClient) -> None:
    for address in ("/", "/v2", "/nothing"):
        headers = client.get(address).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_other_machines_need_a_token() -> None:
    with pytest.raises(RunError, match=r"Every machine that can reach 0\.0\.0\.0 could ask.*MISREAD_TOKEN"):
        check_access("0.0.0.0", None)
    for host in ("127.0.0.1", "localhost", "::1"):
        assert check_access(host, None).token is None
    for token in ("short", "x" * 15, "with a space in it", "é" * 20, "tab\t" * 8):
        with pytest.raises(RunError, match="at least 16 characters, all ASCII"):
            check_access("0.0.0.0", token)
    assert check_access("0.0.0.0", "x" * 16).token == "x" * 16


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 101])
def test_a_name_that_cannot_stand_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(RunError, match="Choose another with --name"):
        check_name(name)
    check_name("x" * 100)


def test_metrics_count_answers_and_predicted_classes(client: AppClient, images: np.ndarray) -> None:
    images[:3, 2:], images[3:, :2] = 0, 0  # three are light at the top, two at the bottom
    client.post(INFER, json=tensor(images))
    client.post(INFER, content=b"{")
    client.get("/v2/models/no-such-model")
    client.get("/nothing/at/all")
    text = client.get("/metrics").text
    values = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            sample = re.fullmatch(r'([a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) ([0-9.e+-]+)', line)
            assert sample, line
            values[sample[1]] = float(sample[2])
    assert values['misread_requests_total{route="infer",status="200"}'] == 1
    assert values['misread_requests_total{route="infer",status="400"}'] == 1
    assert values['misread_requests_total{route="model_metadata",status="404"}'] == 1
    assert values['misread_requests_total{route="none",status="404"}'] == 1
    assert values['misread_predictions_total{class="top"}'] == 3
    assert values['misread_predictions_total{class="bottom"}'] == 2
    assert values['misread_predictions_total{class="a \\"quoted\\"\\nclass"}'] == 0
    buckets = [
        value for name, value in values.items() if name.startswith('misread_request_seconds_bucket{route="infer"')
    ]
    assert buckets == sorted(buckets)
    assert buckets[-1] == values['misread_request_seconds_count{route="infer"}'] == 2
    assert values["misread_requests_in_progress"] == 1  # this one


def test_requests_are_logged_as_json_without_bodies_and_tokens(
    caplog: pytest.LogCaptureFixture, images: np.ndarray
) -> None:
    app = make_app(known_model(), Access("127.0.0.1", TOKEN), log=True)
    client = AppClient(app, f"http://{HOST}")
    client.headers = {"authorization": f"Bearer {TOKEN}"}
    with caplog.at_level(logging.INFO, "misread.serve"):
        client.post(INFER, json=tensor(images))
        client.get("/v2/health/live")
        client.get('/no"thing%0Ainjected')
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    assert [(line["path"], line["status"]) for line in lines] == [(INFER, 200), ('/no"thing\ninjected', 404)]
    assert (lines[0]["images"], lines[0]["method"]) == (5, "POST")
    assert all("\n" not in JsonLines().format(record) for record in caplog.records)
    assert TOKEN not in caplog.text


def test_a_failure_is_logged_and_its_details_stay_here(caplog: pytest.LogCaptureFixture, images: np.ndarray) -> None:
    def broken(images: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("secret detail")

    client = AppClient(make_app(known_model(broken), Access("127.0.0.1")), f"http://{HOST}")
    answer = client.post(INFER, json=tensor(images))
    assert answer.status_code == 500
    assert "ZeroDivisionError" in answer.json()["error"]
    assert "secret" not in answer.text
    (record,) = caplog.records
    assert "secret detail" in json.loads(JsonLines().format(record))["traceback"]


def test_the_description_has_every_address_and_only_those(client: AppClient) -> None:
    app = make_app(known_model(), Access("127.0.0.1"))
    described = client.get("/openapi.json").json()
    own = {"/", "/openapi.json", "/page.css"}
    found = {(r.path, method.lower()) for r in app.routes for method in r.methods - {"HEAD"} if r.path not in own}  # type: ignore[attr-defined]
    assert found == {(path, method) for path, methods in described["paths"].items() for method in methods}
    page = client.get("/").text
    for path in described["paths"]:
        assert f"<code>{path}</code>" in page
    for reference in re.findall(r'"#/([^"]+)"', json.dumps(described)):
        part = described
        for name in reference.split("/"):
            part = part[name]
    assert not re.search(r"(src|href)=.https?:", page)


def test_the_command_line_names_what_cannot_be_served(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for arguments, said in [
        (["nothing"], "nothing"), (["nothing.onnx"], "There is no file nothing.onnx"), (["last"], "There is no run"),
        (["last", "--host", "0.0.0.0"], "Give it a token"), (["last", "--token", "x"], "at least 16 characters"),
    ]:  # fmt: skip
        result = cli("serve", *arguments)
        assert result.code == 2
        assert said in result.err
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\0" * 100)
    assert "is damaged or no ONNX file" in cli("serve", damaged).err
