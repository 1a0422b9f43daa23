"""Search spaces: what a file may say, and what it may not."""

from pathlib import Path

import optuna
import pytest

from misread.errors import RecipeError
from misread.lab.search_space import read_search_space

RATE = '"optimizer.learning_rate" = {low = 0.001, high = 0.1, log = true}\n'


def write(folder: Path, text: str) -> Path:
    (folder / "space.toml").write_text(text)
    return folder / "space.toml"


def test_a_space_of_a_named_recipe_draws_values_that_the_recipe_takes(tmp_path: Path) -> None:
    text = f'recipe = "fast"\n[search]\n{RATE}epochs = {{low = 1, high = 3}}\nbatch_size = {{choices = [64, 128]}}\n'
    space = read_search_space(write(tmp_path, text))
    values = {"optimizer.learning_rate": 0.02, "epochs": 2, "batch_size": 64}
    assert space.draw(optuna.trial.FixedTrial(values)) == values
    recipe = space.with_values(values)
    assert (recipe.name, recipe.optimizer.learning_rate, recipe.epochs, recipe.batch_size) == ("fast", 0.02, 2, 64)


def test_a_file_may_be_the_recipe_itself_with_nested_tables(tmp_path: Path) -> None:
    text = (
        'epochs = 2\nlayers = [{type = "Flatten"}, {type = "Dense", units = "classes"}]\n'
        "[search.optimizer]\nlearning_rate = {low = 0.001, high = 0.1, log = true}\n"
    )
    space = read_search_space(write(tmp_path, text), {"epochs": 5})
    assert (space.recipe.name, space.recipe.epochs, list(space.settings)) == ("space", 5, ["optimizer.learning_rate"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('recipe = "fast"\n', r"no table \[search\]"),
        ('recipe = "fast"\n[search]\n', r"no table \[search\]"),
        ('recipe = "fsat"\n[search]\n' + RATE, "no recipe or recipe file 'fsat'"),
        ('recipe = "fast"\nepochs = 3\n[search]\n' + RATE, "fields of its own: epochs"),
        ('recipe = "tutorial-mlp"\n[search]\n' + RATE, "shows the test split as validation"),
        ('recipe = "fast"\nmembers = \n[search]\n' + RATE, "not valid TOML"),
        ('recipe = "fast"\n[search]\nepochs = {low = 3, high = 3}', "low is 3, but must be below high"),
        ('recipe = "fast"\n[search]\nepochs = {low = 0, high = 3, log = true}', "must be above 0"),
        ('recipe = "fast"\n[search]\nepochs = {low = 0, high = 3}', "epochs"),
        ('recipe = "fast"\n[search]\nepochs = {choices = [3]}', "two values or more"),
        ('recipe = "fast"\n[search]\nepochs = 3', "search.epochs is 3"),
        ('recipe = "fast"\n[search]\nepohcs = {low = 1, high = 3}', "epohcs"),
        ('recipe = "fast"\n[search]\nseed = {low = 1, high = 3}', "seed cannot be searched"),
        ('recipe = "fast"\n[search.validation]\nfraction = {low = 0.1, high = 0.3}', "cannot be searched"),
        ("members = 3\n[search]\n" + RATE, "has 3 members. A sweep needs 1"),
    ],
)
def test_a_space_that_cannot_be_used_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_search_space(write(tmp_path, text))


def test_the_lessons_recipe_can_be_searched_on_carved_validation(tmp_path: Path) -> None:
    path = write(tmp_path, 'recipe = "tutorial-mlp"\n[search]\n' + RATE)
    assert read_search_space(path, {"validation.name": "carve"}).recipe.validation.name == "carve"
