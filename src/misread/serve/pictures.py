"""The picture in a request's body: PNG, JPEG or WebP, told by its first bytes, decoded within limits."""

import io

import numpy as np
from starlette.exceptions import HTTPException

from misread.data.picture import decode_picture

MAX_PIXELS = 2**24
MAX_SCANS = 100  # of a JPEG; encoders write about ten, and each can cost as much as decoding the picture
WANTED = (
    "The body must be the picture itself: PNG, JPEG or WebP, as in "
    "`curl --data-binary @picture.png`. Forms, base64 and addresses are not read."
)


def picture_of(body: bytes) -> np.ndarray:
    """(h, w, 1 or 3) uint8 from an encoded picture.

    Raises HTTPException 415: it is no PNG, JPEG or WebP. Raises HTTPException 413: it has too many pixels, known before
    any is decoded. Raises DataError: it is damaged.
    """
    kind = kind_of(body)
    if kind is None:
        raise HTTPException(415, WANTED)
    if kind == "WEBP":  # Pillow's decoder reserves memory for all pixels when it opens the file
        _check_pixels(*webp_size(body))
    if kind == "JPEG" and body.count(b"\xff\xda") > MAX_SCANS:
        raise HTTPException(413, f"The JPEG has more than {MAX_SCANS} scans. Save it as a baseline JPEG or as PNG.")
    return decode_picture(io.BytesIO(body), "The picture", (kind,), MAX_PIXELS)


def kind_of(body: bytes) -> str | None:
    """PNG, JPEG or WEBP by the first bytes, whatever headers say; None for anything else."""
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if body.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    return None


def webp_size(body: bytes) -> tuple[int, int]:
    """(width, height) in the header of a WebP file; (0, 0) if it has none, which the decoder then refuses.

    Source: RFC 9649, sections 2.5 to 2.7.
    """
    chunk, head = body[12:16], body[20:30]
    if len(head) < 10:
        return 0, 0
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise HTTPException(
            413, f"The picture is too large: {width} x {height} pixels; {MAX_PIXELS:,} pixels are allowed."
        )
