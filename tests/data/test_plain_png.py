"""The short way for small PNGs: whatever the file is, it gives what Pillow's reader of all PNGs gives."""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from misread.data.picture import decode_picture
from misread.data.plain_png import MOST_PIXELS, decode_plain_png
from misread.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (5, 8, 3), dtype=np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # by a quarter


def png(pixels: np.ndarray, mode: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(file, "png", **options)
    return file.getvalue()


def chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def filtered(pixels: np.ndarray, kind: int, parts: int = 1) -> bytes:
    """A PNG whose rows are all filtered in one of the five ways, by the definitions of the standard."""
    height, width, channels = pixels.shape
    padded = np.zeros((height + 1, width + 1, channels), int)
    padded[1:, 1:] = pixels
    here, left, above, corner = padded[1:, 1:], padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    distance = [abs(left + above - corner - other) for other in (left, above, corner)]
    nearest = np.where(
        (distance[0] <= distance[1]) & (distance[0] <= distance[2]), left,
        np.where(distance[1] <= distance[2], above, corner),
    )  # fmt: skip
    guess = [0 * here, left, above, (left + above) // 2, nearest][kind]
    rows = ((here - guess) % 256).astype(np.uint8).reshape(height, -1)
    data = zlib.compress(b"".join(bytes([kind]) + row.tobytes() for row in rows))
    cuts = [len(data) * part // parts for part in range(parts + 1)]
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    contents = [chunk(b"IDAT", data[start:stop]) for start, stop in pairwise(cuts)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(contents) + chunk(b"IEND", b"")


def outcome(contents: bytes) -> tuple[tuple[int, ...], bytes] | str:
    """The shape and the pixels, or the text of the error."""
    try:
        pixels = decode_picture(io.BytesIO(contents), "x.png")
    except DataError as error:
        return str(error)
    assert pixels.dtype == np.uint8
    return pixels.shape, pixels.tobytes()


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("pixels", [GREY[..., None], COLOUR])
def test_every_filter_gives_the_pixels(pixels: np.ndarray, kind: int, parts: int) -> None:
    found = decode_plain_png(io.BytesIO(filtered(pixels, kind, parts)))
    assert found is not None
    np.testing.assert_array_equal(found, pixels)


def others() -> Iterator[bytes]:
    """PNGs that are not plain."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a digit")
    yield png(GREY, pnginfo=text)
    yield png(GREY, exif=TURNED)
    yield png(COLOUR, transparency=tuple(int(value) for value in COLOUR[0, 0]))
    for mode in ("1", "P", "LA", "RGBA", "I;16"):
        yield png(GREY, mode)
    yield png(np.zeros((MOST_PIXELS // 256 + 1, 256), np.uint8))
    yield b""
    yield png(GREY)[:30]
    yield png(GREY)[:-12]  # without its end, which Pillow forgives


def test_all_others_are_left_to_pillow() -> None:
    for contents in others():
        assert decode_plain_png(io.BytesIO(contents)) is None
    assert outcome(png(GREY, exif=TURNED))[0] == (7, 9, 1)


def test_damage_to_any_byte_ends_as_by_pillow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for whole in (png(GREY), png(COLOUR), png(np.repeat(GREY[..., None], 3, axis=2))):
        damaged = [whole, *(whole[:place] for place in range(len(whole)))]
        for place in range(len(whole)):
            for change in (0x01, 0x80):
                changed = bytearray(whole)
                changed[place] ^= change
                damaged.append(bytes(changed))
        by_both = [outcome(contents) for contents in damaged]
        with monkeypatch.context() as patch:
            patch.setattr("misread.data.picture.decode_plain_png", lambda file: None)
            assert by_both == [outcome(contents) for contents in damaged]
        assert isinstance(by_both[0], tuple)
