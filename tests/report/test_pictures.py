"""The pictures on a page: how they are stored, and that none is left out."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from misread.report import pictures
from misread.report.pictures import BLOCK, QUALITIES, Encoding, Room, choose_encoding, encoded_pictures

PHOTO, DIGIT = (32, 32, 3), (28, 28, 1)


def smooth(n: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Images with large patches of slowly changing colour and some noise, as photographs have."""
    height, width, channels = shape
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 220, (n, 3, 3, channels), dtype=np.uint8)
    large = [Image.fromarray(image.squeeze()).resize((width, height), Image.Resampling.BICUBIC) for image in coarse]
    noise = rng.integers(0, 30, (n, *shape), dtype=np.uint8)
    return np.stack([np.asarray(image) for image in large]).reshape(n, *shape) // 2 + noise


def strokes(n: int) -> np.ndarray:
    """Black images with a bright block each, as digits are mostly black."""
    images = np.zeros((n, *DIGIT), dtype=np.uint8)
    for i, image in enumerate(images):
        image[3 + i % 9 : 15, 4 + i % 7 : 17] = 255 - i % 50
    return images


def stored(images: np.ndarray, room: Room) -> dict[str, Any]:
    return encoded_pictures(lambda rows: images[rows], np.arange(len(images)), room)


def opened(found: dict[str, Any], place: int) -> Image.Image:
    text = found["heads"][place // found["block"]] + found["bodies"][place]
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.mark.parametrize("shape", [PHOTO, DIGIT, (12, 20, 3), (33, 17, 3), (7, 9, 1)])
@pytest.mark.parametrize("n", [1, 7, BLOCK + 3])
def test_parts_of_a_strip_show_what_each_jpeg_alone_would(n: int, shape: tuple[int, int, int]) -> None:
    images = smooth(n, shape)
    encoding = Encoding(side=128, quality=75)
    found = [encoding.encode(images[start : start + BLOCK]) for start in range(0, n, BLOCK)]
    parts = [(head, body) for head, bodies in found for body in bodies]
    assert len(parts) == n
    for image, (head, body) in zip(images, parts, strict=True):
        part = Image.open(io.BytesIO(base64.b64decode(head + body, validate=True)))
        alone = io.BytesIO()
        Image.fromarray(image.squeeze()).save(alone, "jpeg", quality=75)
        assert part.size == (shape[1], shape[0])
        shown, expected = (np.asarray(jpeg).reshape(shape).astype(int) for jpeg in (part, Image.open(alone)))
        if shape[0] % 16 and shape[2] == 3:  # the last rows are padded in another way
            assert np.abs(shown - image).mean() < 1.1 * np.abs(expected - image).mean()
        else:
            assert np.array_equal(shown, expected)


def test_few_photographs_and_any_number_of_digits_are_exact() -> None:
    few = smooth(20, PHOTO)
    found = stored(few, pictures.MISREAD)
    assert found["changed"] == ""
    assert all(np.array_equal(np.asarray(opened(found, i)), few[i]) for i in range(20))
    digits = strokes(2000)
    found = stored(digits, Room(good=1000, most=10**9))
    assert found["changed"] == ""
    assert all(np.array_equal(np.asarray(opened(found, i).convert("L")), digits[i, ..., 0]) for i in range(0, 2000, 99))


def test_more_pictures_lose_quality_first_and_then_size() -> None:
    sample = smooth(64, (128, 128, 3))
    room = Room(good=300_000, most=3_000_000)
    found = [choose_encoding(sample, count, room) for count in (2, 10, 40, 200, 1000, 4000, 10**9)]
    assert found[0] == Encoding(128, None)
    assert found[-1] == Encoding(32, QUALITIES[-1])
    qualities = [encoding.quality or 100 for encoding in found]
    sides = [encoding.side for encoding in found]
    assert qualities == sorted(qualities, reverse=True)
    assert sides == sorted(sides, reverse=True)
    assert len(set(qualities)) >= 3
    assert len(set(sides)) >= 3
    for count, encoding in zip((2, 10, 40, 200, 1000, 4000), found, strict=False):
        assert count * encoding.characters(sample) <= room.most
        assert count * encoding.characters(sample) <= room.good or encoding.quality == QUALITIES[-1]


def test_what_pictures_differ_in_is_said() -> None:
    wide = smooth(3, (100, 400, 3))
    assert stored(wide, Room(10**9, 10**9))["changed"] == "reduced to 32 × 128 pixels"
    assert opened(stored(wide, Room(10**9, 10**9)), 0).size == (128, 32)
    assert stored(wide, Room(1, 10**9))["changed"] == "reduced to 32 × 128 pixels and compressed as JPEG (quality 60)"
    assert stored(smooth(3, PHOTO), Room(1, 10**9))["changed"] == "compressed as JPEG (quality 60)"


@pytest.mark.parametrize("room", [Room(10**9, 10**9), Room(1, 1)])
def test_no_picture_is_left_out(room: Room) -> None:
    images = smooth(10_000, (8, 8, 3))
    found = stored(images, room)
    assert len(found["bodies"]) == 10_000
    for place in (0, BLOCK - 1, BLOCK, 9_999):
        shown = np.asarray(opened(found, place)).astype(int)
        differences = np.abs(shown - images[[place, (place + 1) % 10_000]]).mean(axis=(1, 2, 3))
        assert differences[0] < differences[1]  # it is this image, and not the next


def test_no_rows_no_pictures() -> None:
    assert stored(smooth(1, PHOTO)[:0], pictures.MISREAD) == {}
