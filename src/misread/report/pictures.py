"""The pictures on a page: exact where that takes little room, else as JPEG."""

import io
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from misread.messages import Message

SIDES = (128, 96, 64, 48, 32)  # pixels of the longer side at most: tiles and enlargements need no more than the first
QUALITIES = tuple(range(95, 55, -5))  # of JPEG, as Pillow counts them
EXACT = 1.5  # times what the worst JPEG takes may always be taken by exact pictures
SAMPLE = 64  # images that sizes are estimated from
BLOCK = 500  # pictures in a JPEG strip, which may be 65,500 pixels high


@dataclass(frozen=True)
class Room:
    """Characters that pictures may take. To stay below `good` they lose quality, to stay below `most` also size."""

    good: int
    most: int


MISREAD = Room(1_600_000, 10_000_000)
TRAINING = Room(3_000_000, 14_000_000)  # five for each misread image, and shown small


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

    def characters(self, images: np.ndarray) -> float:
        """What a picture of these images takes on average."""
        return sum(len(body) + 3 for body in self.encode(images)[1]) / len(images)  # two quotes and a comma

    def describe(self, shape: Sequence[int]) -> str:
        """What pictures of images (H, W, C) differ from them in; empty if in nothing."""
        height, width = _size(shape, self.side)
        is_reduced = (height, width) != tuple(shape[:2])
        reduced = Message("picture.reduced", height=str(height), width=str(width)) if is_reduced else ""
        lossy = Message("picture.lossy", quality=str(self.quality)) if self.quality else ""
        return Message("picture.both", reduced=reduced, lossy=lossy) if reduced and lossy else reduced or lossy


def encoded_pictures(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, room: Room) -> dict[str, Any]:
    """Pictures, as the page's script reads them.

    read: from rows to images (n, H, W, 1 or 3) uint8. rows: (N,) int64, of the images wanted.
    Returns type (a media type), heads and bodies (base64 text: a picture is the head of its block of `block` pictures,
    then its body), and `changed`: what the pictures differ from the images in. Empty if there are no rows.
    """
    if not len(rows):
        return {}
    sample = read(rows[np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64)])
    encoding = choose_encoding(sample, len(rows), room)
    blocks = [encoding.encode(read(rows[start : start + BLOCK])) for start in range(0, len(rows), BLOCK)]
    return {
        "type": encoding.media_type,
        "block": BLOCK,
        "heads": [head for head, _ in blocks],
        "bodies": [body for _, bodies in blocks for body in bodies],
        "changed": encoding.describe(sample.shape[1:]),
    }


def choose_encoding(sample: np.ndarray, count: int, room: Room) -> Encoding:
    """The encoding for `count` pictures of images like those of the sample (n, H, W, 1 or 3) uint8.

    The side is the largest whose pictures fit into `room.most` at the lowest quality, or the smallest. Pictures are
    exact if they fit into `room.good`, or take hardly more than the worst JPEG; digits do. Otherwise the quality is the
    highest that fits into `room.good`, or the lowest. So all are there, and with too many the page is larger.
    """
    each, worst = room.good / count, QUALITIES[-1]
    side = next((side for side in SIDES if count * Encoding(side, worst).characters(sample) <= room.most), SIDES[-1])
    exact = Encoding(side, None)
    if exact.characters(sample) <= max(each, EXACT * Encoding(side, worst).characters(sample)):
        return exact
    return Encoding(side, next((q for q in QUALITIES if Encoding(side, q).characters(sample) <= each), worst))


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
