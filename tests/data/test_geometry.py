import numpy as np
import pytest
from PIL import Image, ImageFilter

import misread
from misread.data.digits import _images_and_labels
from misread.data.geometry import Geometry, fit_images, fit_picture, measure_geometry, place
from misread.data.image_set import ImageSet


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return misread.load("digits")


def test_digits_are_placed_like_mnist(digits: ImageSet) -> None:
    """The published recipe: 28x28, the ink within 20x20, its centre of mass in the middle."""
    images = digits.train.images[..., 0].astype(float)
    ys, xs = np.mgrid[0:28, 0:28] + 0.5
    total = images.sum(axis=(1, 2))
    centres = np.stack([(images * ys).sum((1, 2)) / total, (images * xs).sum((1, 2)) / total], axis=1)
    assert np.abs(centres - 14).max() <= 1.0
    rows, columns = (images > 32).any(axis=2).sum(axis=1), (images > 32).any(axis=1).sum(axis=1)
    assert np.maximum(rows, columns).max() <= 20
    assert (len(digits.train), len(digits.test)) == (1438, 359)


def test_digits_are_the_same_everywhere(digits: ImageSet) -> None:
    before, changed = digits.train.images.copy(), misread.load("digits")
    changed.train.images[:], changed.train.labels[:] = 0, 0
    again = misread.load("digits")  # which has images of its own
    np.testing.assert_array_equal(again.train.images, before)
    _images_and_labels.cache_clear()
    assert misread.load("digits").fingerprint == again.fingerprint
    assert not set(map(bytes, digits.train.images)) & set(map(bytes, digits.test.images))


def test_geometry_is_measured_from_the_images(digits: ImageSet) -> None:
    found = measure_geometry(digits.train.images)
    assert (found.ground, found.box, found.centre) == ("dark", 20, "mass")
    light = measure_geometry(255 - digits.train.images)
    assert (light.ground, light.box) == ("light", 20)
    noise = np.random.default_rng(0).integers(0, 256, (50, 12, 10, 3), dtype=np.uint8)
    assert measure_geometry(noise) == Geometry(12, 10, 3)


@pytest.mark.parametrize("polarity", ["dark on light", "light on dark"])
def test_an_image_in_the_training_shape_is_only_inverted_if_needed(digits: ImageSet, polarity: str) -> None:
    geometry = measure_geometry(digits.train.images)
    image = digits.test.images[0]
    given = 255 - image if polarity == "dark on light" else image
    np.testing.assert_array_equal(fit_picture(given, geometry), image)


@pytest.mark.parametrize("ground", ["dark", "light", None])
@pytest.mark.parametrize("channels", [1, 3])
def test_many_images_are_fitted_as_each_alone(ground: str | None, channels: int) -> None:
    """Their edges have every level, also 127 and 128, between which an image begins to be light."""
    images = np.repeat(np.arange(256, dtype=np.uint8), 6 * 5 * channels).reshape(256, 6, 5, channels)
    images[:, 2:4, 2:4] = 255 - images[:, 2:4, 2:4]
    geometry = Geometry(6, 5, channels, ground, None if ground is None else 3)
    light = np.arange(256) > 127
    turned = {"dark": light, "light": ~light, None: light & ~light}[ground]
    expected = np.stack([255 - image if turn else image for image, turn in zip(images, turned, strict=True)])
    np.testing.assert_array_equal(fit_images(images, geometry), expected)
    np.testing.assert_array_equal(np.stack([fit_picture(image, geometry) for image in images]), expected)


def test_place_scales_the_longer_side_to_the_box_and_centres() -> None:
    ink = np.zeros((50, 90, 1), np.uint8)
    ink[5:45, 60:70] = 255
    placed = place(ink, (28, 28), 20, "mass")[..., 0]
    rows, columns = np.flatnonzero(placed.any(1)), np.flatnonzero(placed.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 23, 11, 15) or (columns[0], columns[-1]) == (12, 16)


def photograph(image: np.ndarray, seed: int) -> np.ndarray:
    """A digit as a phone sees it: dark ink on shaded, grainy paper, large, off centre, in colour."""
    rng = np.random.default_rng(seed)
    side = int(rng.integers(220, 420))
    ink = np.asarray(Image.fromarray(image[..., 0]).resize((side, side), Image.Resampling.BICUBIC), float) / 255
    height, width = side + int(rng.integers(80, 300)), side + int(rng.integers(80, 300))
    top, left = int(rng.integers(20, height - side)), int(rng.integers(20, width - side))
    paper = 205 + np.linspace(-35, 25, width)[None] + np.linspace(-20, 15, height)[:, None]
    paper = paper + rng.normal(0, 5, (height, width))
    paper[top : top + side, left : left + side] -= ink * 130
    grey = Image.fromarray(paper.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.2))
    tint = np.array([1.0, 0.97, 0.88])
    return (np.asarray(grey, float)[..., None] * tint).clip(0, 255).astype(np.uint8)


def test_photographs_are_fitted_to_the_image_they_show(digits: ImageSet) -> None:
    """An independent judge: the nearest of 359 test images is nearly always the one that was photographed."""
    geometry = measure_geometry(digits.train.images)
    flat = digits.test.images.reshape(len(digits.test), -1).astype(float)
    hits = 0
    for i in range(60):
        seen = fit_picture(photograph(digits.test.images[i], seed=i), geometry)
        assert seen.shape == (28, 28, 1)
        hits += int(np.linalg.norm(flat - seen.ravel(), axis=1).argmin() == i)
    assert hits >= 54


def test_a_frame_filling_set_crops_and_resizes() -> None:
    geometry = Geometry(4, 8, 3)
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[25:75] = (10, 20, 30)
    assert (fit_picture(picture, geometry) == (10, 20, 30)).all()


def test_a_blank_picture_does_not_break() -> None:
    geometry = Geometry(28, 28, 1, "dark", 20, "mass")
    assert fit_picture(np.full((300, 200, 3), 255, np.uint8), geometry).shape == (28, 28, 1)
    assert fit_picture(np.zeros((1, 1, 1), np.uint8), geometry).shape == (28, 28, 1)
