"""The pictures on a page: exact where that takes little room, else as JPEG."""

import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

SIDES = (128, 96, 64, 48, 32)  # pixels of the longer side at most: tiles and enlargements need no more than the first
QUALITIES = tuple(range(95, 55, -5))  # of JPEG, as Pillow counts them
GOOD = 5_000_000  # characters of all pictures: quality is given up to stay below
MOST = 24_000_000  # characters of all pictures: size is given up to stay below, since a much larger page opens slowly
EXACT = 1.5  # times the room of the worst JPEG that exact pictures may always take
SAMPLE = 256  # pictures that the room is estimated from
BLOCK = 500  # pictures in a JPEG strip, which may be 65,500 pixels high

Read = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Encoding:
    """How pictures are stored. side: pixels of the longer side at most. quality: of JPEG, or None for lossless WebP."""

    side: int
    quality: int | None

    @property
    def media_type(self) -> str:
        return "image/webp" if self.quality is None else "image/jpeg"

    def encode(self, images: np.ndarray) -> tuple[str, list[str]]:
        """At most `BLOCK` images (N, H, W, 1 or 3) uint8: the base64 text that all start with, and the rest of each."""
        small = _reduced(images, self.side)
        if self.quality is None:
            return "", [_base64(_saved(image, "webp", lossless=True, method=1, quality=0)) for image in small]
        head, bodies = _jpegs(small, self.quality)
        return _base64(head), [_base64(body) for body in bodies]

    def room(self, images: np.ndarray) -> float:
        """Characters that an image takes on average."""
        return sum(len(body) + 3 for body in self.encode(images)[1]) / len(images)  # two quotes and a comma

    def describe(self, shape: Sequence[int]) -> str:
        """What pictures of images (H, W, C) differ from them in; empty if in nothing."""
        height, width = _size(shape, self.side)
        reduced = f"reduced to {height} × {width} pixels" if (height, width) != tuple(shape[:2]) else ""
        lossy = f"compressed as JPEG (quality {self.quality})" if self.quality else ""
        return " and ".join(filter(None, (reduced, lossy)))


def encoded_pictures(sources: Sequence[tuple[Read, np.ndarray]]) -> dict[str, Any]:
    """All pictures of a page. sources: functions from rows to images (n, H, W, 1 or 3) uint8, and the rows (N,) int64.

    Returns type (a media type), heads and bodies (base64 text: a picture is the head of its block of `block` pictures,
    then its body), and `changed`: what the pictures differ from the images in. Empty if there are no rows.
    """
    sources = [(read, rows) for read, rows in sources if len(rows)]
    if not sources:
        return {}
    read, rows = sources[0]
    sample = read(rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)])
    encoding = choose_encoding(sample, sum(len(rows) for _, rows in sources))
    blocks = [encoding.encode(block) for block in _blocks(sources)]
    return {
        "type": encoding.media_type,
        "block": BLOCK,
        "heads": [head for head, _ in blocks],
        "bodies": [body for _, bodies in blocks for body in bodies],
        "changed": encoding.describe(sample.shape[1:]),
    }


def choose_encoding(sample: np.ndarray, count: int) -> Encoding:
    """The encoding for `count` pictures like those of the sample (n, H, W, 1 or 3) uint8.

    The side is the largest whose pictures take at most `MOST` characters at the lowest quality. Pictures are exact if
    they take at most `GOOD` characters, or hardly more than the worst JPEG; digits do. Otherwise the quality is the
    highest at which they take at most `GOOD`, or the lowest.
    """
    worst = QUALITIES[-1]
    side = next((side for side in SIDES if count * Encoding(side, worst).room(sample) <= MOST), SIDES[-1])
    exact = Encoding(side, None)
    if exact.room(sample) <= max(GOOD / count, EXACT * Encoding(side, worst).room(sample)):
        return exact
    quality = next((q for q in QUALITIES if count * Encoding(side, q).room(sample) <= GOOD), worst)
    return Encoding(side, quality)


def _blocks(sources: Sequence[tuple[Read, np.ndarray]]) -> Iterator[np.ndarray]:
    """The images of all sources in order, `BLOCK` at a time."""
    waiting: list[np.ndarray] = []
    for read, rows in sources:
        while len(rows):
            room = BLOCK - sum(map(len, waiting))
            waiting.append(read(rows[:room]))
            rows = rows[room:]
            if sum(map(len, waiting)) == BLOCK:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _jpegs(images: np.ndarray, quality: int) -> tuple[bytes, list[bytes]]:
    """JPEGs of the images: the bytes that all start with, a multiple of 3, and the rest of each.

    All images are compressed at once, below each other, with a restart marker after each. Restart markers make the
    parts independent, so that a part behind the strip's tables and its own height is a JPEG. Each is 300 bytes smaller
    than one with its own tables, and compressing is 3 times as fast.
    """
    height, width, channels = images.shape[1:]
    unit = 8 if channels == 1 else 16  # pixels of a row of blocks: colours are stored at half the resolution
    padded = np.pad(images, ((0, 0), (0, -height % unit), (0, 0), (0, 0)), mode="edge")
    rows = padded.shape[1] // unit
    strip = _saved(
        padded.reshape(-1, width, channels), "jpeg", quality=quality, optimize=True, restart_marker_rows=rows
    )
    scan = strip.index(b"\xff\xda")
    tables, parts = strip[: scan + 2], strip[scan + 2 :]
    length = int.from_bytes(parts[:2], "big")
    tables, parts = tables + parts[:length], parts[length:-2]
    size = tables.index(b"\xff\xc0") + 5  # of the whole strip so far
    tables = tables[:size] + height.to_bytes(2, "big") + tables[size + 2 :]
    comment = bytes(-(len(tables) + 4) % 3)
    head = tables[:2] + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + tables[2:]
    return head, [part + b"\xff\xd9" for part in re.split(rb"\xff[\xd0-\xd7]", parts)]


def _size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Height and width of an image (H, W, ...) reduced until its longer side is `side`."""
    longer = max(shape[:2])
    height, width = (max(1, round(n * min(1, side / longer))) for n in shape[:2])
    return height, width


def _reduced(images: np.ndarray, side: int) -> np.ndarray:
    height, width = _size(images.shape[1:], side)
    if (height, width) == images.shape[1:3]:
        return images
    small = [np.asarray(_picture(image).resize((width, height), Image.Resampling.BOX)) for image in images]
    return np.stack(small).reshape(len(images), height, width, -1)


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _saved(image: np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    _picture(image).save(buffer, kind, **options)
    return buffer.getvalue()


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
