"""What can be trained: the data sets and recipes that a page may name, the form of a recipe, and the check of settings.

Names from a page are looked up in tables; none of them becomes a path.
"""

from functools import cache
from pathlib import Path
from typing import Any

from starlette.datastructures import State

from misread.errors import DataError, RecipeError, RunError
from misread.messages import plain, recognised
from misread.names import nearest
from misread.runs import run_folder
from misread.studio.training_job import Job
from misread.studio.trainings import Training

MAX_SETTINGS = 300


def data_sources(state: State) -> dict[str, str]:
    """The data sets that can be chosen: the name that a page shows, and what `misread.load` takes."""
    from misread.data.drawings import drawn_sets
    from misread.data.load import EMBEDDED
    from misread.data.named import NAMED

    sources = {name: name for name in (*NAMED, EMBEDDED)}
    if chosen := chosen_data(state):
        sources = {chosen: state.data} | sources | {chosen: state.data}  # first, also under a known name
    return sources | {name: name for name in drawn_sets()}


def chosen_data(state: State) -> str | None:
    """The name of the data that the studio was opened on."""
    return Path(state.data).name if state.data else None


@cache
def recipe_values() -> dict[str, dict[str, Any]]:
    """The values of every recipe that is included, by its name. The description is a `plain` message."""
    from misread.training.recipe import load_recipe, recipe_names

    recipes = {name: load_recipe(name).model_dump(mode="json") for name in recipe_names()}
    return {
        name: {**values, "description": plain(recognised(values["description"], "recipe"))}
        for name, values in recipes.items()
    }


@cache
def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe."""
    from misread.training.recipe import Recipe

    return Recipe.model_json_schema()


def check_settings(recipe: str, settings: dict[str, Any]) -> None:
    """Raises RecipeError: there is no such recipe, or it is not valid with these settings; the message lists each."""
    from misread.training.auto_recipe import AUTO
    from misread.training.recipe import load_recipe, recipe_names

    _check_keys(settings)
    names = (AUTO, *recipe_names())
    if recipe not in names:
        raise RecipeError(f"There is no recipe {recipe!r}.{nearest(recipe, names)} Known: {', '.join(names)}.")
    load_recipe("fast" if recipe == AUTO else recipe, settings)


def _check_keys(settings: dict[str, Any]) -> None:
    if len(settings) > MAX_SETTINGS:
        raise RecipeError(f"{len(settings):,} settings are too many; {MAX_SETTINGS} are allowed.")
    refused = sorted(key for key in settings if key.partition(".")[0] == "backbone")
    if refused:  # its name may be the path of a file
        raise RecipeError(f"{refused[0]}: a backbone is chosen in the terminal: misread train DATA --backbone NAME.")


def new_training(state: State, data: str, recipe: str, settings: dict[str, Any], paused: bool) -> Training:
    """A training of a named recipe on named data. Raises DataError or RecipeError: one of them cannot be used."""
    sources = data_sources(state)
    if data not in sources:
        raise DataError(f"There is no data set {data!r}.{nearest(data, sources)} Known: {', '.join(sources)}.")
    check_settings(recipe, settings)
    job = Job(sources[data], recipe, settings, out=str(state.runs.folder), paused=paused)
    return Training(job, f"{recipe} · {data}")


def training_again(state: State, run: str, with_fixes: bool, settings: dict[str, Any], paused: bool) -> Training:
    """A training with the data and the recipe of a run. with_fixes: with the labels that were fixed since.

    Raises RunError: no such run, it used arrays or a module from Python, or no label was fixed. RecipeError: the
    settings are not valid.
    """
    from misread.training.recipe import load_recipe

    path = state.runs.path(run)
    record = run_folder.read_record(path)
    if not record.data.source or record.model.network != "recipe":
        raise RunError("This run used arrays or a module from Python. Train it again there.")
    _check_keys(settings)
    recipe = path / run_folder.RECIPE
    load_recipe(recipe, settings)
    old = path / run_folder.LABEL_PATCH
    patch = _patch(state.runs.folder, record) if with_fixes else str(old) if old.is_file() else None
    job = Job(record.data.source, str(recipe), settings, patch, str(state.runs.folder), paused=paused)
    return Training(job, f"{record.recipe} · {record.data.name}", again=run)


def training_resumed(state: State, run: str, paused: bool) -> Training:
    """A training that was interrupted. Raises RunError: there is nothing to resume."""
    path: Path = state.runs.path(run)
    if not run_folder.is_resumable(path):
        raise RunError("There is no checkpoint of this training, so it cannot be resumed. Train again.")
    return Training(Job(resume=str(path), paused=paused), path.name.removesuffix(run_folder.PARTIAL))


def _patch(runs: Path, record: Any) -> str:
    from misread.studio.label_routes import patch_file

    patch: Path = patch_file(runs, record)
    if not patch.is_file():
        raise RunError(f"No label of {record.data.name} has been changed yet. Change some in the room Misreads.")
    return str(patch)
