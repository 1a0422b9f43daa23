"""Decodes the most common PNGs. Pillow's reader of all PNGs takes longer for a small one than its pixels do."""

import struct
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

HEADER = struct.Struct(">8sI4sIIBBBBBI")  # the signature and the first chunk: its length, kind, contents and CRC
CHUNK = struct.Struct(">I4s")
CHANNELS = {0: 1, 2: 3}  # of the kinds of colour: grey, RGB
MOST_PIXELS = 2**16  # with more of them, the reader of all PNGs takes no large part of the time
MOST_BYTES = 2**19


def decode_plain_png(file: BinaryIO) -> np.ndarray | None:
    """A small PNG of 8 bits, grey or RGB, not interlaced, that has nothing but pixels: (H, W, 1 or 3) uint8.

    None: the file is anything else, damaged files included. Then nothing is known of its position.
    """
    header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    signature, length, kind, width, height, bits, colour, method, filters, interlaced, crc = HEADER.unpack(header)
    if (signature, length, kind, bits, method, filters, interlaced) != (b"\x89PNG\r\n\x1a\n", 13, b"IHDR", 8, 0, 0, 0):
        return None
    channels = CHANNELS.get(colour)
    if channels is None or not 0 < width * height <= MOST_PIXELS or zlib.crc32(header[12:29]) != crc:
        return None
    data = _pixel_data(file.read(MOST_BYTES))
    if data is None:
        return None
    mode = "L" if channels == 1 else "RGB"
    try:
        image = Image.frombytes(mode, (width, height), data, "zip", mode)
    except ValueError:  # too few pixels, or damaged ones
        return None
    return np.frombuffer(image.tobytes(), np.uint8).reshape(height, width, channels)


def _pixel_data(chunks: bytes) -> bytes | None:
    """The contents of the IDAT chunks, if there are no others before IEND."""
    data: list[bytes] = []
    position = 0
    while position + CHUNK.size <= len(chunks):
        length, kind = CHUNK.unpack_from(chunks, position)
        if kind != b"IDAT":
            return b"".join(data) if kind == b"IEND" else None
        data.append(chunks[position + 8 : position + 8 + length])
        position += length + 12  # its length, kind and CRC, which Pillow does not compare either
    return None
