"""Pictures as bodies: every format, told by its content; hostile ones are refused before they cost anything."""

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

import misread
from app_client import AppClient
from misread.serve.app import make_app
from misread.serve.guard import Access
from misread.serve.model import open_model
from misread.serve.pictures import kind_of, webp_size
from samples import blocks
from served import HOST, known_probs

EXACT: dict[str, dict[str, Any]] = {"PNG": {}, "WEBP": {"lossless": True}}


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **(EXACT.get(kind, {}) | options))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("stated", ["image/png", "text/html", "application/json"])
def test_a_picture_is_classified_whatever_the_headers_say(
    client: AppClient, images: np.ndarray, kind: str, stated: str
) -> None:
    body = encoded(images[0], kind)
    answer = client.post("/predict", content=body, headers={"content-type": stated})
    assert answer.status_code == 200
    found = answer.json()
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))
    expected = known_probs(pixels[None])[0]
    np.testing.assert_array_equal(np.array(found["probs"], np.float32), expected)
    best = int(expected.argmax())
    assert found["prediction"] == ("top", "bottom")[best]
    assert found["confidence"] == found["top"][0]["probability"] == pytest.approx(float(expected[best]))
    assert found["top"][0]["class"] == found["prediction"]


def test_a_served_run_predicts_what_the_run_predicts_and_so_does_its_onnx_file(tmp_path: Any) -> None:
    (pixels, labels), test = blocks(160), blocks(40, seed=1)
    data = misread.ImageSet.from_arrays(pixels, labels, test=test, name="blocks")
    layers = 'layers=[{type="Flatten"}, {type="Dense", units="classes"}]'
    run = misread.train(data, "tutorial-mlp", epochs=1, settings=[layers], out=tmp_path / "runs", progress=False)
    (written,) = misread.export(run, "onnx", tmp_path / "deployed")
    picture = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    expected = run.predict_file(tmp_path / "picture.png")
    told = []
    for path in (run.folder, written.path):
        client = AppClient(make_app(open_model(path, threads=1), Access("127.0.0.1")), f"http://{HOST}")
        found = client.post("/predict", content=(tmp_path / "picture.png").read_bytes()).json()
        assert [t["class"] for t in found["top"]] == [name for name, _ in expected[:3]]
        np.testing.assert_allclose([t["probability"] for t in found["top"]], [p for _, p in expected[:3]], atol=1e-5)
        metadata = client.get(f"/v2/models/{path.stem if path.is_file() else path.name}").json()["parameters"]
        assert metadata["fingerprint"] == data.fingerprint
        assert metadata["accuracy"]["n"] == 40
        assert metadata["data"] == "blocks"
        told.append(metadata)
    assert told[0] == told[1]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that states a size and has little data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def webp_bomb(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + sizes
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of_size(width: int, height: int) -> bytes:
    body = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG")
    at = body.index(b"\xff\xc0") + 5
    return body[:at] + struct.pack(">HH", height, width) + body[at + 4 :]


def jpeg_of_many_scans() -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    body = encoded(np.zeros((8, 8, 3), np.uint8), "JPEG", progressive=True)
    scan = body[body.rindex(b"\xff\xda") : body.rindex(b"\xff\xd9")]
    return body[: body.rindex(b"\xff\xd9")] + scan * 200 + b"\xff\xd9"


HUGE = "too large"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (png_bomb(4097, 4096), 400, HUGE), (png_bomb(40_000, 40_000), 400, HUGE),
        (png_bomb(2**31 - 1, 2**31 - 1), 400, ""),
        (png_bomb(10_000, 10_000, b"\0" * 10**7), 400, HUGE), (webp_bomb(16_384, 16_384), 413, HUGE),
        (webp_bomb(2**24, 2**24), 413, HUGE), (jpeg_of_size(65_000, 65_000), 400, HUGE),
        (jpeg_of_size(9_000, 9_000), 400, HUGE), (jpeg_of_many_scans(), 413, "more than 100 scans"),
        (png_bomb(0, 5), 400, ""), (png_bomb(100, 100, b"\0" * 50), 400, "damaged"), (webp_bomb(5, 5), 400, ""),
    ],
)  # fmt: skip
def test_bombs_are_refused(client: AppClient, body: bytes, status: int, said: str) -> None:
    answer = client.post("/predict", content=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert len(answer.content) < 300


def test_the_largest_picture_that_is_allowed_is_classified(client: AppClient) -> None:
    body = encoded(np.full((4096, 4096), 9, np.uint8))
    assert client.post("/predict", content=body).status_code == 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_pictures_are_refused_at_every_length(client: AppClient, images: np.ndarray, kind: str) -> None:
    body = encoded(images[0], kind)
    for length in range(0, len(body) - 24, max(1, len(body) // 40)):
        answer = client.post("/predict", content=body[:length])
        assert answer.status_code in (400, 415)
        assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"http://169.254.169.254/latest/meta-data", b"file:///etc/passwd", b"/etc/passwd", b"<svg xmlns='x'/>",
        b"GIF89a" + b"\0" * 50, b"BM" + b"\0" * 50, b"II*\0" + b"\0" * 50, b"%PDF-1.4", b"%!PS-Adobe-3.0 EPSF-3.0",
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\x89PNG\r\n\x1a\n", b"\0" * 100, b"P6 1 1 255 abc",
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused_with_what_to_send(client: AppClient, body: bytes) -> None:
    answer = client.post("/predict", content=body)
    assert answer.status_code == 415
    assert "curl --data-binary @picture.png" in answer.json()["error"]


def test_an_empty_body_is_named(client: AppClient) -> None:
    assert "The body is empty" in client.post("/predict").json()["error"]


def test_polyglots_are_pictures_and_nothing_else(client: AppClient, images: np.ndarray) -> None:
    buffer = io.BytesIO(encoded(images[0]))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("page.html", "<script>alert(1)</script>")
    plain = client.post("/predict", content=encoded(images[0]))
    both = client.post("/predict", content=buffer.getvalue())
    assert both.content == plain.content
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(1)</script>"
    answer = client.post("/predict", content=encoded(images[0], "JPEG", exif=exif.tobytes()))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"script" not in answer.content


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"lossless": True, "exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (3, 300), (257, 2)])
def test_the_size_of_a_webp_file_is_read_as_pillow_reads_it(options: dict[str, Any], size: tuple[int, int]) -> None:
    body = encoded(np.zeros((size[1], size[0], 3), np.uint8), "WEBP", **options)
    assert kind_of(body) == "WEBP"
    assert webp_size(body) == size == Image.open(io.BytesIO(body)).size
