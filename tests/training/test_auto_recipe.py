"""The recipe that is chosen by the images."""

import numpy as np
import pytest

import misread
from misread.data.image_set import ImageSet, build_image_set
from misread.errors import RecipeError
from misread.training.auto_recipe import better_recipe, choose_recipe, named_recipe, pick_recipe
from samples import blocks


def photographs(count: int, channels: int = 3) -> ImageSet:
    """Smooth gradients with noise: no value is common, as in photographs."""
    rng = np.random.default_rng(0)
    across, down = np.linspace(0, 150, 32), np.linspace(0, 60, 32)[:, None]
    noise = rng.normal(0, 8, (100, 32, 32, channels))
    hundred = (across + down)[None, :, :, None] + noise + 20
    images = np.resize(hundred.clip(0, 255).astype(np.uint8), (count, 32, 32, channels))
    return build_image_set("photographs", {"train": (images, np.arange(count) % 2)})


@pytest.mark.parametrize("dark", [True, False])
def test_drawn_digits_get_fast_whether_on_a_dark_or_a_light_ground(dark: bool) -> None:
    digits = misread.load("digits").train
    images = digits.images if dark else 255 - np.asarray(digits.images)
    name, why = choose_recipe(build_image_set("mine", {"train": (images, digits.labels)}))
    assert name == "fast"
    assert "28x28" in why
    assert "plain background" in why


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("count", "name"), [(200, "photo-fast"), (30_000, "photo")])
def test_photographs_get_a_recipe_for_photographs_by_their_number(channels: int, count: int, name: str) -> None:
    assert choose_recipe(photographs(count, channels))[0] == name


def test_named_data_keeps_the_lessons_recipe_unless_asked() -> None:
    digits = misread.load("digits")
    assert pick_recipe(None, digits) == ("tutorial-mlp", "")
    assert pick_recipe("auto", digits)[0] == "fast"
    assert pick_recipe("accurate", photographs(10)) == ("accurate", "")


def test_a_named_recipe_is_checked_before_the_data_and_a_backbone_has_its_own_default() -> None:
    assert named_recipe(None, {}) is None
    assert named_recipe("auto", {}) == "auto"
    assert named_recipe(None, {"backbone.name": "features.pt2"}) == "head"
    assert named_recipe(None, {"backbone.name": "features.pt2", "backbone.fine_tune": True}) == "fine-tune"
    assert named_recipe("fast", {"backbone.name": "features.pt2", "backbone.fine_tune": True}) == "fast"
    with pytest.raises(RecipeError, match="Did you mean 'fast'"):
        named_recipe("fats", {})


def test_the_better_recipe_is_the_next_more_accurate_for_such_images() -> None:
    digits, pictures = misread.load("digits"), photographs(200, 3)
    assert [better_recipe(r, digits) for r in ("tutorial-mlp", "fast", "accurate")] == ["accurate"] * 3
    better = [better_recipe(r, pictures) for r in ("fast", "photo-fast", "photo", "photo-accurate")]
    assert better == ["photo", "photo", "photo-accurate", "photo-accurate"]


def test_the_run_records_the_choice_and_why(tmp_path: object) -> None:
    images, labels = blocks(60, side=24)
    run = misread.train((images, labels), epochs=1, out=str(tmp_path), progress=False)
    assert run.record.recipe.startswith("photo")
    assert "60" not in run.record.recipe
    assert "like photographs" in run.record.recipe_choice
    assert misread.open_run(run.folder).record.recipe_choice == run.record.recipe_choice
    named = misread.train("digits", "fast", epochs=1, out=str(tmp_path), progress=False)
    assert named.record.recipe_choice == ""
