"""Measures the size, position and background of the object in the training images, and fits new pictures to them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from misread.data.mapped_images import Images
from misread.data.picture import as_channels, resize

INK = 32  # a pixel this far above the background belongs to the object; lower values are noise and antialiasing
SAMPLE = 2000  # images measured; more do not change the result
SAMPLE_PIXELS = 2**24  # limits the number of large images, to save time
MIN_SAMPLE = 200  # images, however large
BLOCK_PIXELS = 2**21  # processed at once: the whole sample as floats could fill the memory


@dataclass(frozen=True)
class Geometry:
    """The properties of the training images that a new picture must be given.

    ground: "dark" or "light" if the images show an object on a uniform background; None if they fill the frame.
    box:    the length of the object's longer side in pixels (median); None if the images fill the frame.
    centre: "mass" if the object's centre of mass is at the image's centre, "box" if its bounding box is centred.
    """

    height: int
    width: int
    channels: int
    ground: str | None = None
    box: int | None = None
    centre: str = "box"


def measure_geometry(images: Images) -> Geometry:
    """The geometry of (N, H, W, C) uint8 images.

    The background counts as uniform if in 90% of the images more than 70% of the outermost pixels are within `INK` of
    the same end of the scale. The pixels that differ from it are the object.
    """
    height, width, channels = images.shape[1:]
    count = max(MIN_SAMPLE, min(SAMPLE, SAMPLE_PIXELS // (height * width)))
    positions = np.linspace(0, len(images) - 1, min(len(images), count)).astype(int)
    blocks = np.array_split(positions, -(-len(positions) * height * width // BLOCK_PIXELS))
    edge = np.concatenate([_edges(images[rows]) for rows in blocks])
    for ground, distance in (("dark", edge), ("light", 255 - edge)):
        if np.mean((distance <= INK).mean(axis=1) > 0.7) < 0.9:
            continue
        sides, offsets = [], []
        for rows in blocks:
            grey = images[rows].mean(axis=-1)
            for ink in grey if ground == "dark" else 255 - grey:
                top, bottom, left, right = box = _bounding_box(ink)
                sides.append(max(bottom - top, right - left))
                offsets.append([_mass_offset(ink), _box_offset(ink.shape, box)])
        mass, middle = np.abs(offsets).mean(axis=(0, 2))
        return Geometry(height, width, channels, ground, int(np.median(sides)), "mass" if mass < middle else "box")
    return Geometry(height, width, channels)


def fit_picture(pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Fit a picture of any size to the training images: (h, w, 1 or 3) uint8 -> (H, W, C) uint8.

    If the training images fill their frame, the picture is cropped to their shape and resized. If they show an object
    on a uniform background, the background is removed (dark on light or light on dark, with shading and paper noise),
    and the object is scaled and centred like theirs. A picture that already has the training shape is only inverted,
    and only if its background differs from theirs.
    """
    height, width, channels = geometry.height, geometry.width, geometry.channels
    pixels = as_channels(pixels, channels)
    if geometry.ground is None or geometry.box is None:
        return resize(_crop_to_shape(pixels, height, width), height, width)
    if pixels.shape[:2] == (height, width):
        return fit_images(pixels[None], geometry)[0]
    ink = _remove_ground(255 - pixels if _has_light_ground(pixels[None])[0] else pixels)
    placed = place(ink, (height, width), geometry.box, geometry.centre)
    return placed if geometry.ground == "dark" else 255 - placed


def fit_images(images: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Each as `fit_picture` fits it: (N, H, W, C) uint8, of the training shape already, to the same."""
    if geometry.ground is None or geometry.box is None:
        return images
    turned = _has_light_ground(images) == (geometry.ground == "dark")
    return np.where(turned[:, None, None, None], 255 - images, images)


def place(ink: np.ndarray, shape: tuple[int, int], box: int, centre: str) -> np.ndarray:
    """Scale the object in `ink` so that its longer side is `box` pixels, and centre it on a black image of `shape`.

    ink: (h, w, C) uint8, light on black. centre: "mass" or "box".
    Source: MNIST's method, LeCun et al. 1998, "Gradient-based learning applied to document recognition", section III.
    """
    top, bottom, left, right = _bounding_box(ink.mean(axis=-1))
    cut = ink[top:bottom, left:right]
    scale = box / max(cut.shape[:2])
    cut = resize(cut, max(1, round(cut.shape[0] * scale)), max(1, round(cut.shape[1] * scale)))
    margin = max(*shape, *cut.shape[:2])
    canvas = np.zeros((shape[0] + 2 * margin, shape[1] + 2 * margin, ink.shape[-1]), np.uint8)
    middle = np.array(cut.shape[:2]) / 2
    if centre == "mass":
        middle += _mass_offset(cut.mean(axis=-1))
    y, x = (np.rint(np.array(shape) / 2 - middle)).astype(int) + margin
    y = int(np.clip(y, margin, margin + max(shape[0] - cut.shape[0], 0)))  # rather off centre than cropped
    x = int(np.clip(x, margin, margin + max(shape[1] - cut.shape[1], 0)))
    canvas[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
    return canvas[margin : margin + shape[0], margin : margin + shape[1]]


def _edges(images: np.ndarray) -> np.ndarray:
    """The outermost pixels of (N, H, W, C) images in grey, (N, 2W + 2H)."""
    around = np.concatenate((images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]), axis=1)
    return around[..., 0] if around.shape[-1] == 1 else around.mean(axis=-1)


def _has_light_ground(images: np.ndarray) -> np.ndarray:
    """(N,) bool of (N, H, W, C) images: whether the median of the outermost pixels is above 127."""
    ordered = np.sort(_edges(images), axis=1).astype(np.float64)  # np.median would take ten times as long
    count = ordered.shape[1]
    return ordered[:, (count - 1) // 2] + ordered[:, count // 2] > 2 * 127


def _bounding_box(ink: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero((ink > INK).any(axis=1)), np.flatnonzero((ink > INK).any(axis=0))
    if not len(rows):
        return 0, ink.shape[0], 0, ink.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _mass_offset(ink: np.ndarray) -> np.ndarray:
    """(dy, dx) from the centre of the image to the centre of mass, in pixels."""
    total = float(ink.sum()) or 1.0
    y = (ink.sum(axis=1) * (np.arange(ink.shape[0]) + 0.5)).sum() / total
    x = (ink.sum(axis=0) * (np.arange(ink.shape[1]) + 0.5)).sum() / total
    return np.array([y - ink.shape[0] / 2, x - ink.shape[1] / 2]) if ink.any() else np.zeros(2)


def _box_offset(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> np.ndarray:
    return np.array([(box[0] + box[1] - shape[0]) / 2, (box[2] + box[3] - shape[1]) / 2])


def _crop_to_shape(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (pixels.shape[0] - h) // 2, (pixels.shape[1] - w) // 2
    return pixels[top : top + h, left : left + w]


def _remove_ground(ink: np.ndarray) -> np.ndarray:
    """Light strokes on a dark background, with shading and noise -> strokes 0..255 on black.

    The background is estimated by a morphological opening that is wider than any stroke, then smoothed. The difference
    from it is cut at Otsu's threshold (Otsu 1979) and stretched to the full range.
    """
    longest = max(ink.shape[:2])
    if longest > 512:  # fine detail is noise here, and the filters' cost grows with the area
        ink = resize(ink, *(max(1, round(s * 512 / longest)) for s in ink.shape[:2]))
    grey = Image.fromarray(np.rint(ink.mean(axis=-1)).astype(np.uint8)).filter(ImageFilter.MedianFilter(3))
    small = grey.resize([max(8, s // 4) for s in grey.size], Image.Resampling.BOX)
    window = max(3, max(small.size) // 4 | 1)
    ground = small.filter(ImageFilter.MinFilter(window)).filter(ImageFilter.GaussianBlur(window / 2))
    height = np.asarray(grey, float) - np.asarray(ground.resize(grey.size, Image.Resampling.BICUBIC), float)
    height = height.clip(0, 255)
    threshold = _otsu(height)
    ground_level = float(np.median(height[height <= threshold])) if (height <= threshold).any() else 0.0
    top = float(np.percentile(height[height > threshold], 90)) if (height > threshold).any() else 255.0
    cut = (ground_level + threshold) / 2  # keeps the soft edges of strokes, which the training images have too
    level = ((height - cut) / max(top - cut, 1)).clip(0, 1)
    if ink.shape[-1] == 1:
        return np.rint(level * 255).astype(np.uint8)[..., None]
    return np.rint(ink * (level > 0)[..., None]).astype(np.uint8)


def _otsu(values: np.ndarray) -> float:
    counts, edges = np.histogram(values, bins=256, range=(0, 256))
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * middles)[::-1]) / np.maximum(np.cumsum(counts[::-1]), 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(middles[int(np.argmax(between))])
