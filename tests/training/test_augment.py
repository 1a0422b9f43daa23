"""What each setting does to pictures whose position, angle and size can be measured."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from misread.training.augment import _affine_weights, _grid, _waves, augment, versions
from misread.training.recipe import Augmentation

EVERYTHING = Augmentation(shift=0.1, rotation=15, scale=0.1, shear=8, elastic=0.03, flip=True, erasing=0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=seeded(9))


def blob(count: int, height: int = 41, width: int = 41, tall: float = 3.0, wide: float = 3.0) -> Tensor:
    """The same upright ellipse, smooth and bright, in the middle of a dark picture."""
    y, x = np.mgrid[:height, :width]
    one = 255 * np.exp(-(((y - height // 2) / tall) ** 2 + ((x - width // 2) / wide) ** 2) / 2)
    return torch.tensor(np.rint(one).astype(np.uint8))[None, :, :, None].repeat(count, 1, 1, 1)


def moments(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Centre (N, 2) as (y, x) and covariance (N, 2, 2) of each picture's brightness, in pixels."""
    weights = images[..., 0].double()
    weights = weights / weights.sum((1, 2), keepdim=True)
    y, x = torch.meshgrid(*(torch.arange(n).double() for n in weights.shape[1:]), indexing="ij")
    places = torch.stack([y, x]).flatten(1)
    centre = weights.flatten(1) @ places.T
    apart = places[None] - centre[..., None]
    return centre.numpy(), ((apart * weights.flatten(1)[:, None]) @ apart.transpose(1, 2)).numpy()


@pytest.mark.parametrize("shape", [(5, 28, 28, 1), (3, 20, 33, 3), (1, 1, 1, 1)])
def test_an_empty_spec_changes_nothing(shape: tuple[int, ...]) -> None:
    assert torch.equal(augment(noise(*shape), Augmentation(), seeded()), noise(*shape))


@pytest.mark.parametrize("shape", [(40, 28, 28, 1), (7, 16, 24, 3), (2, 1, 3, 1), (0, 28, 28, 1)])
def test_the_seed_decides_and_the_input_is_not_changed(shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    once, again, other = (augment(images, EVERYTHING, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(once, again)
    assert once.shape == shape
    assert once.dtype == torch.uint8
    assert once.is_contiguous()
    assert shape[0] < 3 or not torch.equal(once, other)
    assert torch.equal(images, noise(*shape))


def test_every_image_is_augmented_differently() -> None:
    copies = augment(noise(1, 28, 28, 1).repeat(50, 1, 1, 1), EVERYTHING, seeded())
    assert len(np.unique(copies.flatten(1).numpy(), axis=0)) == 50


def test_resampling_equals_scipy() -> None:
    spec = EVERYTHING.model_copy(update={"erasing": 0.0})
    images = noise(6, 24, 30, 3)
    ours = augment(images, spec, seeded(4)).numpy().astype(float)
    grid = _grid(images, spec, seeded(4)).double().numpy()
    for image, places, result in zip(images.numpy().astype(float), grid, ours, strict=True):
        x, y = (places[..., 0] + 1) * 15 - 0.5, (places[..., 1] + 1) * 12 - 0.5
        for channel in range(3):
            theirs = ndimage.map_coordinates(image[..., channel], [y, x], order=1, mode="nearest")
            assert np.abs(result[..., channel] - theirs).max() < 0.6  # rounded to whole grey levels


def test_shift_moves_up_to_its_share_of_each_side_and_keeps_the_form() -> None:
    centre, spread = moments(augment(blob(400, 40, 60), Augmentation(shift=0.15), seeded()))
    moved = (centre - (20, 30)) / (40, 60)
    assert np.abs(moved).max() < 0.152
    assert np.ptp(moved, axis=0) == pytest.approx([0.3, 0.3], abs=0.01)
    assert np.abs(moved.mean(axis=0)).max() < 0.015
    # bilinear sampling between four pixels blurs by at most a quarter of a pixel squared
    assert np.abs(spread - moments(blob(1, 40, 60))[1]).max() < 0.26


@pytest.mark.parametrize("width", [41, 71])
def test_rotation_turns_up_to_its_degrees_about_the_centre(width: int) -> None:
    centre, spread = moments(augment(blob(400, 41, width, tall=4, wide=2), Augmentation(rotation=30), seeded()))
    assert np.abs(centre - (20, width // 2)).max() < 0.05
    degrees = np.degrees(0.5 * np.arctan2(2 * spread[:, 0, 1], spread[:, 0, 0] - spread[:, 1, 1]))
    assert np.abs(degrees).max() < 30.5
    assert np.ptp(degrees) > 58
    lengths = np.linalg.eigvalsh(spread)
    assert lengths == pytest.approx(np.tile(np.linalg.eigvalsh(moments(blob(1, 41, 41, 4, 2))[1]), (400, 1)), abs=0.4)


def test_scale_stretches_height_and_width_each_by_its_own_factor() -> None:
    _, spread = moments(augment(blob(400), Augmentation(scale=0.2), seeded()))
    factors = np.sqrt(spread[:, [0, 1], [0, 1]] / 9)
    assert factors.min() == pytest.approx(0.8, abs=0.03)
    assert factors.max() == pytest.approx(1.2, abs=0.03)
    assert abs(np.corrcoef(factors.T)[0, 1]) < 0.15


def test_shear_leans_to_both_sides_and_keeps_the_height() -> None:
    _, spread = moments(augment(blob(400, tall=6, wide=2), Augmentation(shear=20), seeded()))
    degrees = np.degrees(np.arctan(spread[:, 0, 1] / spread[:, 0, 0]))
    assert np.abs(degrees).max() == pytest.approx(20, abs=1)
    assert np.ptp(degrees) == pytest.approx(40, abs=1.5)
    assert spread[:, 0, 0] == pytest.approx(np.full(400, 36), abs=0.7)


def test_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    image = noise(1, 9, 12, 3)
    flipped = augment(image.repeat(400, 1, 1, 1), Augmentation(flip=True), seeded())
    mirrored = (flipped == image.flip(2)).flatten(1).all(1)
    assert (mirrored | (flipped == image).flatten(1).all(1)).all()
    assert 160 < mirrored.sum() < 240


@pytest.mark.parametrize(("sigma", "side"), [(4, 28), (6, 28), (3, 20), (7, 64)])
def test_an_elastic_field_is_gaussian_filtered_noise(sigma: float, side: int) -> None:
    """Correlations of any two pixels beside scipy's filter applied to each single noise value."""
    line = ndimage.gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=8)
    theirs = np.kron(line @ line.T, line @ line.T)[:: side // 3]
    deviation = np.sqrt(np.diag(line @ line.T))
    deviation = np.outer(deviation, deviation).ravel()
    theirs = theirs / deviation[:: side // 3, None] / deviation
    waves = _waves(side, side, sigma / side).flatten(1).numpy()
    assert np.abs(waves.T[:: side // 3] @ waves - theirs).max() < 0.01
    assert len(waves) < 60


@pytest.mark.parametrize("shape", [(1000, 28, 28, 1), (1000, 24, 40, 3)])
def test_elastic_is_the_displacement_in_shares_of_the_side(shape: tuple[int, ...]) -> None:
    images = torch.zeros(shape, dtype=torch.uint8)
    bent = _grid(images, Augmentation(elastic=0.04), seeded())
    straight = _grid(images, Augmentation(), seeded())
    rms = (bent - straight).square().mean((0, 1, 2)).sqrt() / 2  # from -1 to 1 is a side
    assert rms.numpy() == pytest.approx([0.04, 0.04], rel=0.05)
    everywhere = (bent - straight).square().mean(0).sqrt() / 2
    assert 0.034 < everywhere.min() < everywhere.max() < 0.046


def test_settings_mean_the_same_at_another_image_size() -> None:
    small, large = (blob(300, n, n, n / 12, n / 16) for n in (32, 64))
    spec = Augmentation(shift=0.1, rotation=15, scale=0.1, shear=8, elastic=0.03)
    for a, b in zip(*(moments(augment(images, spec, seeded())) for images in (small, large)), strict=True):
        power = a.ndim - 1  # centres are pixels, spreads pixels squared
        offset = 0.5 if power == 1 else 0
        assert np.abs((a + offset) / 32**power - (b + offset) / 64**power).mean() < 0.02


@pytest.mark.parametrize("ground", [(0,), (255,), (250, 240, 200)])
def test_the_background_stays_the_same(ground: tuple[int, ...]) -> None:
    images = torch.tensor(ground, dtype=torch.uint8).repeat(200, 28, 28, 1)
    spec = EVERYTHING.model_copy(update={"erasing": 0.0, "shift": 0.5})
    assert torch.equal(augment(images, spec, seeded()), images)


def test_erasing_fills_one_rectangle_of_the_set_size_in_the_set_share_of_images() -> None:
    images = torch.full((600, 50, 40, 3), 77, dtype=torch.uint8)
    erased = augment(images, Augmentation(erasing=0.3, erasing_area=0.4), seeded())
    changed = (erased != 77).any(-1).numpy()
    touched = changed.any((1, 2))
    assert touched.mean() == pytest.approx(0.3, abs=0.05)
    areas, fullness, ratios = [], [], []
    for mask in changed[touched]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        tall, wide = (np.ptp(rows) + 1) / 50, (np.ptp(columns) + 1) / 40
        areas.append(tall * wide)
        ratios.append(tall / wide)
        fullness.append(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean())
    assert min(fullness) > 0.97  # noise has the old value now and then
    assert 0.01 < min(areas) < 0.06
    assert 0.34 < max(areas) < 0.43
    assert 0.2 < min(ratios) < 0.5 < 2 < max(ratios) < 5
    assert len(np.unique(erased[touched][changed[touched]].numpy())) == 256
    assert changed.any(0).mean() > 0.97  # it may lie anywhere


def test_versions_are_grouped_by_image() -> None:
    images = torch.stack([torch.full((8, 8, 1), v, dtype=torch.uint8) for v in (10, 200)])
    shown = versions(images, Augmentation(rotation=10), 3, seed=0)
    assert shown.shape == (2, 3, 8, 8, 1)
    assert [shown[i].unique().item() for i in (0, 1)] == [10, 200]


def test_the_way_back_undoes_scaling_then_shear_then_rotation() -> None:
    """The inverse of the three matrices, multiplied in that order, with the same draws."""
    spec = Augmentation(rotation=40, shear=30, scale=0.4)
    weights = _affine_weights(8, 1.0, spec, torch.Generator().manual_seed(4))[:, :, :2].double().numpy()
    turn, lean, wider, taller, *_ = torch.rand(7, 8, generator=torch.Generator().manual_seed(4)).numpy() * 2.0 - 1
    for image in range(8):
        angle, slant = np.radians(40 * turn[image]), np.tan(np.radians(30 * lean[image]))
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shear = np.array([[1, slant], [0, 1]])
        scale = np.diag([1 + 0.4 * wider[image], 1 + 0.4 * taller[image]])
        np.testing.assert_allclose(weights[image], np.linalg.inv(rotation @ shear @ scale), atol=1e-5)


def test_what_is_erased_is_noise_and_all_else_stays() -> None:
    images = torch.full((30, 12, 12, 1), 200, dtype=torch.uint8)
    varied = augment(images, Augmentation(erasing=1.0), torch.Generator().manual_seed(1))
    draws = torch.Generator().manual_seed(1)
    torch.rand(7, 30, generator=draws)  # the draws of the affine part come first
    noise = torch.randint(0, 256, (12, 12, 1), dtype=torch.uint8, generator=draws)
    erased = varied != 200
    assert 0.05 < erased.float().mean() < 0.2
    assert torch.equal(varied[erased], noise.expand_as(varied)[erased])


def test_shifts_alone_are_by_whole_pixels_and_repeat_the_edge() -> None:
    images = noise(300, 10, 8, 3)
    shifted = augment(images, Augmentation(shift=0.2, flip=True), seeded(1)).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    found = set()
    for one, around in zip(shifted, padded, strict=True):
        places = [
            (down, right, mirrored)
            for down in range(5)
            for right in range(5)
            for mirrored in (False, True)
            if np.array_equal(one, around[down : down + 10, right : right + 8][:, :: -1 if mirrored else 1])
        ]
        assert len(places) == 1
        found.add(places[0])
    assert len({down for down, _, _ in found}) == 5  # 0.2 of 10 pixels: 2 each way
    assert {right for _, right, _ in found} == {0, 1, 2, 3, 4}  # 0.2 of 8 pixels: 1.6, rounded to 2
    assert {mirrored for _, _, mirrored in found} == {False, True}


@pytest.mark.parametrize("spec", [Augmentation(flip=True), Augmentation(flip=True, rotation=1e-6)])
def test_the_caller_may_say_which_images_are_mirrored(spec: Augmentation) -> None:
    images, mirrored = noise(20, 6, 6, 1), torch.arange(20) % 3 == 0
    result = augment(images, spec, seeded(), mirrored)
    assert torch.equal(result[mirrored], images[mirrored].flip(2))
    assert torch.equal(result[~mirrored], images[~mirrored])
