"""Decides which recipe to train with: the one that is named, or one that fits the training images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from misread.data.image_set import ImageSet
from misread.data.load import EMBEDDED
from misread.data.named import NAMED
from misread.training.recipe import Recipe, load_recipe

AUTO: Final = "auto"  # the name that asks for a choice
LESSON: Final = "tutorial-mlp"  # the lesson's first recipe, the default for the named data sets
LESSON_DATA: Final = (*NAMED, EMBEDDED)
DRAWINGS: Final = ("fast", "accurate")  # recipes, the more accurate ones later
PHOTOGRAPHS: Final = ("photo-fast", "photo", "photo-accurate")
SAMPLE = 1000  # images that are looked at
PLAIN_BACKGROUND = 0.25  # the share of pixels with an image's most common value, from which an image counts as drawn
MANY = 20_000  # photographs from which the longer recipe pays
MUCH = 200_000  # photographs of 32x32 pixels, or as many pixels, above which the longer recipe takes too long
SIDE = 20  # pixels; the recipes for photographs halve smaller images too often
FAST_SIDE = 14  # the same for `fast`


def named_recipe(recipe: str | Path | Recipe | None, settings: Mapping[str, Any]) -> str | Path | Recipe | None:
    """The recipe that is named, checked before any data is loaded; `auto` or None if the data decides.

    With a backbone in the settings, `head` or `fine-tune` is the default.
    Raises RecipeError: no such recipe or file, or it is not valid with these settings.
    """
    if recipe is None and settings.get("backbone.name"):
        recipe = "fine-tune" if settings.get("backbone.fine_tune") else "head"
    if recipe not in (None, AUTO):
        load_recipe(recipe, settings)
    return recipe


def pick_recipe(recipe: str | Path | Recipe | None, data: ImageSet) -> tuple[str | Path | Recipe, str]:
    """The recipe to train with, and why it was chosen; empty if it was not chosen here.

    recipe: `auto` is chosen by `choose_recipe`. None is the lesson's recipe for a named data set, else `auto`.
    """
    if recipe is None:
        recipe = LESSON if data.source in LESSON_DATA else AUTO
    return choose_recipe(data) if recipe == AUTO else (recipe, "")


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
    if min(height, width) < FAST_SIDE:
        return "fast-mlp", f"{kind}, too small for convolutions with pooling."
    if min(height, width) < SIDE:
        return "fast", f"{kind}, too small for the recipes for photographs."
    if background >= PLAIN_BACKGROUND:
        return "fast", f"{kind}, {background:.0%} of their pixels a plain background: drawings rather than photographs."
    photographs = f"{kind} without a plain background, like photographs"
    if count < MANY:
        return "photo-fast", f"{photographs}; too few for a longer training."
    if count * height * width > MUCH * 32 * 32:
        return "photo-fast", f"{photographs}; so many pixels that a longer training would take too long."
    return "photo", f"{photographs}."


def better_recipe(recipe: str, data: ImageSet) -> str:
    """The next more accurate recipe for such images; the most accurate one itself, if `recipe` is that."""
    by_accuracy = PHOTOGRAPHS if choose_recipe(data)[0] in PHOTOGRAPHS else DRAWINGS
    place = by_accuracy.index(recipe) if recipe in by_accuracy else 0
    return by_accuracy[min(place + 1, len(by_accuracy) - 1)]


def plain_share(image: np.ndarray) -> float:
    """The share of pixels (H, W, C) uint8 with the most common value. In colour, the smallest share of a channel."""
    return min(float(np.bincount(channel).max()) / len(channel) for channel in image.reshape(-1, image.shape[-1]).T)
