"""Chooses a recipe by looking at the training images."""

import numpy as np

from misread.data.image_set import ImageSet

SAMPLE = 1000  # images that are looked at
PLAIN_BACKGROUND = 0.25  # the share of pixels with an image's most common value, from which an image counts as drawn
LONG_RECIPE = 20_000  # 32x32 photographs from which the longer recipe for photographs pays


def choose_recipe(data: ImageSet) -> tuple[str, str]:
    """The name of a recipe that fits the training images, and one sentence that says why.

    Drawn images, such as digits, icons and clothing on a plain background, get `fast`; photographs get `photo` or, if
    there are few, `photo-fast`. An image counts as drawn if many of its pixels have the same value, dark or light.
    Only training images are looked at, never their labels.
    """
    images, count = data.train.images, len(data.train)
    chosen = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    background = float(np.mean([plain_share(image) for image in np.asarray(images[chosen])]))
    height, width, channels = data.image_shape
    kind = f"{count:,} {'colour' if channels == 3 else 'grey'} images of {height}x{width}"
    if background >= PLAIN_BACKGROUND:
        return "fast", f"{kind}, {background:.0%} of their pixels a plain background: drawings rather than photographs."
    if count < LONG_RECIPE:
        return "photo-fast", f"{kind} without a plain background, like photographs; too few for a longer training."
    return "photo", f"{kind} without a plain background, like photographs."


def plain_share(image: np.ndarray) -> float:
    """The share of pixels (H, W, C) uint8 with the most common value; of colour images, the smallest of the channels'."""
    return min(float(np.bincount(channel).max()) / len(channel) for channel in image.reshape(-1, image.shape[-1]).T)
