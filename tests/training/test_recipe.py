import tomllib
from pathlib import Path

import pytest
import torch

from misread.errors import RecipeError
from misread.models.layer_specs import Dense, Residual
from misread.training.batches import scaled_size
from misread.training.networks import recipe_network
from misread.training.recipe import SGD, Adam, Recipe, load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_reads_back_from_its_own_toml(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(tomllib.loads(recipe.to_toml()), "again") == recipe
    assert recipe.name == name


def test_the_tutorial_recipes_match_the_lesson() -> None:
    mlp, cnn = load_recipe("tutorial-mlp"), load_recipe("tutorial-cnn")
    assert (mlp.batch_size, mlp.epochs, cnn.batch_size, cnn.epochs) == (100, 10, 32, 5)
    assert mlp.optimizer == cnn.optimizer == Adam(learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7)
    assert mlp.validation.name == cnn.validation.name == "show-test"


def test_every_problem_is_named_at_once_with_the_nearest_spelling() -> None:
    bad = {
        "epoch": 3,
        "batch_size": 0,
        "optimizer": {"name": "adma", "learning_rate": 0.1},
        "loss": {"name": "crossentropy"},
        "schedule": {"name": "cosine", "warmupp": 0.1},
        "layers": [
            {"type": "Flaten"},
            {"type": "Dense", "unit": 10, "activation": "rellu"},
            {"type": "Dense", "units": "many"},
            {"type": "Conv2D", "filters": 3, "kernel_size": 0},
        ],
    }
    with pytest.raises(RecipeError) as caught:
        parse_recipe(bad, "mine.toml")
    text = str(caught.value)
    assert text.startswith("mine.toml is not a valid recipe:")
    for said in (
        "epoch: there is no such setting. Did you mean 'epochs'?",
        "batch_size: 0",
        "optimizer.name: 'adma' is unknown. Did you mean 'adam'?",
        "schedule.warmupp: there is no such setting. Did you mean 'warmup'?",
        "layers.0.type: 'Flaten' is unknown. Did you mean 'Flatten'?",
        "layers.1.unit: there is no such setting. Did you mean 'units'?",
        "layers.1.units: it is missing.",
        "layers.1.activation: 'rellu' is unknown. Did you mean 'relu'?",
        "layers.2.units: 'many' is neither a whole number nor 'classes'.",
        "layers.3.kernel_size: 0",
        "loss.name: 'crossentropy' is unknown.",
    ):
        assert said in text


def test_a_setting_of_another_optimizer_lists_those_of_this_one() -> None:
    with pytest.raises(RecipeError, match=r"optimizer.momentum: there is no such setting. Known: name, learning_rate"):
        load_recipe("tutorial-mlp", ["optimizer.momentum=0.9"])


def test_settings_override_the_recipe() -> None:
    recipe = load_recipe("tutorial-mlp", ["optimizer.learning_rate=0.01", "epochs=3", "layers.1.units=64", "name=mine"])
    assert (recipe.optimizer.learning_rate, recipe.epochs, recipe.name) == (0.01, 3, "mine")
    assert recipe.layers[1].units == 64  # type: ignore[union-attr]


@pytest.mark.parametrize("order", [1, -1])
def test_another_optimizer_resets_its_table_in_any_order(order: int) -> None:
    settings = ["optimizer.name=sgd", "optimizer.momentum=0.9"][::order]
    assert load_recipe("tutorial-mlp", settings).optimizer == SGD(momentum=0.9)


def test_another_layer_type_resets_its_table() -> None:
    recipe = load_recipe("tutorial-cnn", ["layers.1.type=AveragePooling2D"])
    assert recipe.layers[1].type == "AveragePooling2D"


def test_a_setting_can_replace_a_whole_layer() -> None:
    recipe = load_recipe("tutorial-mlp", {"layers.1": {"type": "Dense", "units": 7}})
    assert recipe.layers[1] == Dense(units=7)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "not of the form key=value"),
        ("layers.9.units=3", r"there is no layer 9; layers are numbered 0\.\.2"),
        ("layers.3.units=3", r"there is no layer 3; layers are numbered 0\.\.2"),
        ("layers.3=Flatten", r"there is no layer 3; layers are numbered 0\.\.2"),
        ("epochs.x=3", "'epochs' is a single value"),
        ("optimiser.learning_rate=1", "optimiser: there is no such setting. Did you mean 'optimizer'"),
        ("epochs=many", "epochs: 'many'"),
        ("name=a/b", "name: 'a/b'"),
    ],
)
def test_a_bad_setting_is_refused(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("tutorial-mlp", [setting])


def test_a_recipe_file_is_read_and_named_after_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('epochs = 2\n[[layers]]\ntype = "Flatten"\n[[layers]]\ntype = "Dense"\nunits = "classes"\n')
    recipe = load_recipe(path)
    assert (recipe.name, recipe.epochs, len(recipe.layers)) == ("mine", 2, 2)


def test_an_unknown_recipe_and_bad_toml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'tutorial_mlp'. Did you mean 'tutorial-mlp'"):
        load_recipe("tutorial_mlp")
    path = tmp_path / "bad.toml"
    path.write_text("epochs = = 3")
    with pytest.raises(RecipeError, match=r"bad.toml is not valid TOML: .*line 1"):
        load_recipe(path)


@pytest.mark.parametrize("target", [0, -0.1, 1.0001, 99, "nan", "true-ish"])
def test_a_target_accuracy_is_a_share(target: object) -> None:
    with pytest.raises(RecipeError, match="target_accuracy: "):
        load_recipe("tutorial-mlp", [f"target_accuracy={target}", "validation.name=carve"])


@pytest.mark.parametrize("target", [1e-05, 0.99, 1.0])
def test_a_target_accuracy_survives_toml(target: float) -> None:
    recipe = load_recipe("tutorial-mlp", [f"target_accuracy={target}", "validation.name=carve"])
    assert recipe.target_accuracy == tomllib.loads(recipe.to_toml())["target_accuracy"] == target


def test_a_target_is_refused_for_ensembles_and_if_validation_shows_the_test_split() -> None:
    with pytest.raises(RecipeError, match="target_accuracy: it would choose on the test split"):
        load_recipe("tutorial-mlp", ["target_accuracy=0.99"])
    with pytest.raises(RecipeError, match="members: an ensemble cannot stop early; leave target_accuracy out"):
        load_recipe("tutorial-mlp", ["target_accuracy=0.99", "validation.name=carve", "members=2"])


def test_early_stopping_never_chooses_on_the_test_split() -> None:
    with pytest.raises(RecipeError, match="it would choose on the test split"):
        load_recipe("tutorial-mlp", ["early_stopping.patience=2"])
    ok = load_recipe("tutorial-mlp", ["early_stopping.patience=2", "validation.name=carve"])
    assert ok.early_stopping is not None


def test_a_recipe_cannot_be_changed_in_place() -> None:
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        recipe.epochs = 3  # type: ignore[misc]


def test_few_images_train_enough_epochs_to_reach_min_steps() -> None:
    recipe = load_recipe("tutorial-mlp", ["batch_size=10", "epochs=3", "min_steps=100"])
    assert recipe.for_images(95).epochs == 10  # of 10 steps each
    assert recipe.for_images(1000).epochs == 3
    assert load_recipe("tutorial-mlp").for_images(1).epochs == 10
    assert load_recipe("fast").for_images(57_000).epochs == 1
    assert load_recipe("fast").for_images(1_000).epochs > 10
    assert load_recipe("fast", ["epochs=2"]).for_images(1_000).epochs == 2  # just what was asked for


def test_mistakes_inside_a_residual_layer_are_named_with_their_place() -> None:
    inner = {"type": "Conv2D", "filters": 8, "kernel_size": 3, "paddin": "same"}
    with pytest.raises(
        RecipeError, match=r"layers.0.layers.0.paddin: there is no such setting. Did you mean 'padding'"
    ):
        parse_recipe({"layers": [{"type": "Residual", "layers": [inner]}]}, "mine")


def test_a_setting_reaches_a_layer_inside_a_residual_layer() -> None:
    recipe = load_recipe("photo", ["layers.5.layers.0.filters=7"])
    assert isinstance(recipe.layers[5], Residual)
    assert recipe.layers[5].layers[0].filters == 7  # type: ignore[union-attr]
    assert parse_recipe(tomllib.loads(recipe.to_toml()), "again") == recipe


@pytest.mark.parametrize("name", ["photo-fast", "photo", "photo-accurate", "accurate"])
@pytest.mark.parametrize("shape", [(20, 20, 1), (28, 28, 1), (32, 32, 3), (96, 64, 3)])
def test_the_recipes_with_global_pooling_fit_images_of_any_size(name: str, shape: tuple[int, int, int]) -> None:
    recipe = load_recipe(name)
    network = recipe_network(recipe, shape, 7)
    for scale in recipe.image_scales:
        height, width = scaled_size(shape, scale)
        assert network(torch.rand(2, shape[2], height, width)).shape == (2, 7)


def test_image_scales_are_refused_where_weights_depend_on_the_size() -> None:
    with pytest.raises(RecipeError, match=r"image_scales: the weights of this network depend on the size"):
        recipe_network(load_recipe("fast", {"image_scales": [0.5, 1.0]}), (28, 28, 1), 10)
