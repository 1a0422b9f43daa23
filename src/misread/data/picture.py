"""One image file as an array: grey or RGB, from any mode, bit depth and orientation."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from misread.data.plain_png import decode_plain_png
from misread.errors import DataError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def read_picture(path: str | Path) -> np.ndarray:
    """An image file as `decode_picture` gives it.

    Raises DataError: missing, not a regular file, not an image, too large, or damaged.
    """
    try:
        with _open_regular(path) as file:
            return decode_picture(file, str(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def decode_picture(
    file: BinaryIO, name: str, formats: tuple[str, ...] | None = None, max_pixels: int | None = None
) -> np.ndarray:
    """An encoded image as uint8: (H, W, 1) if all pixels are grey, else (H, W, 3).

    EXIF orientation is applied, 16 bits are scaled to 8, transparent pixels become white, palettes are resolved.
    name:       for messages.
    formats:    those of Pillow that are tried; by default all.
    max_pixels: H * W; what has more is not decoded.
    Raises DataError: not an image, too large, or damaged. Raises OSError: the file cannot be read.
    """
    if max_pixels is None and formats is None:
        pixels = decode_plain_png(file)
        if pixels is not None:
            return _grey_if_all_is(pixels)
        file.seek(0)
    try:
        with Image.open(file, formats=formats) as image:
            if max_pixels is not None and image.width * image.height > max_pixels:
                raise DataError(
                    f"{name} is too large: {image.width} x {image.height} pixels; {max_pixels:,} pixels are allowed."
                )
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            return grey_or_rgb(image)
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name} is not a readable image.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise DataError(f"{name} is too large: {error or 'out of memory'}.") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{name} is damaged: {error}.") from None
    except Exception as error:  # decoders raise many kinds of errors: struct.error, zlib.error, TypeError
        raise DataError(f"{name} is damaged: {error}.") from None


def _open_regular(path: str | Path) -> BinaryIO:
    """Open a file. A pipe or a device is refused, because opening or reading it could block."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise DataError(f"{path} is a folder, not an image.")
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is a pipe or a device, not an image file.")
    return open(path, "rb")


def grey_or_rgb(image: Image.Image) -> np.ndarray:
    """An opened picture as uint8: (H, W, 1) if all pixels are grey, else (H, W, 3); as `read_picture` gives it."""
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits, or floats in the range of 8 or 16 bits
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if image.mode.startswith("I;16") or values.max() > 255 else 1.0
        return np.rint(values * scale).clip(0, 255).astype(np.uint8)[..., None]
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))[..., None]
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return _grey_if_all_is(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))


def _grey_if_all_is(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) uint8 with one channel, if all pixels are grey."""
    if pixels.shape[-1] == 3 and _is_grey(pixels[:1]) and _is_grey(pixels):  # a first row with colour decides
        return pixels[..., :1]
    return pixels


def _is_grey(rgb: np.ndarray) -> bool:
    return bool((rgb[..., :1] == rgb).all())


def as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 1 or 3) uint8 as grey or RGB. Colour becomes grey by ITU-R 601 luma, as in Pillow."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (h, w, C) uint8 to (height, width, C), with antialiasing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return resized.reshape(height, width, pixels.shape[-1])
