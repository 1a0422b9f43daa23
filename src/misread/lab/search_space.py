"""The search space of a sweep: a recipe, and the settings that are tried, from one TOML file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from misread.errors import RecipeError
from misread.training.recipe import Recipe, load_recipe, parse_recipe

SEARCH, BASE = "search", "recipe"
# settings that change what is compared: the images that a trial is scored on, or how a recipe is called
FIXED = ("seed", "name", "description", "validation", "members", "target_accuracy")
Scalar = bool | int | float | str


class Trial(Protocol):
    """The part of `optuna.trial.Trial` that draws values."""

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


class Range(BaseModel):
    """Whole numbers if both bounds are whole, else floating point; both bounds are possible values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low is {self.low}, but must be below high, {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}; with log = true it must be above 0")
        return self

    @property
    def bounds(self) -> list[Scalar]:
        return [self.low, self.high]

    def draw(self, trial: Trial, name: str) -> Scalar:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, float(self.low), float(self.high), log=self.log)


class Choices(BaseModel):
    """One of some values."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    choices: list[Scalar]
    log: bool = False

    @model_validator(mode="after")
    def _several(self) -> "Choices":
        if len(self.choices) < 2:
            raise ValueError("choices needs two values or more")
        return self

    @property
    def bounds(self) -> list[Scalar]:
        return self.choices

    def draw(self, trial: Trial, name: str) -> Scalar:
        chosen: Scalar = trial.suggest_categorical(name, self.choices)
        return chosen


@dataclass(frozen=True)
class SearchSpace:
    """The recipe that a sweep starts from, and the values that it tries, by setting."""

    recipe: Recipe
    settings: Mapping[str, Range | Choices]

    def draw(self, trial: Trial) -> dict[str, Scalar]:
        """A value for each setting."""
        return {name: values.draw(trial, name) for name, values in self.settings.items()}

    def with_values(self, values: Mapping[str, Scalar]) -> Recipe:
        """The recipe with these values. Raises RecipeError: they do not fit together."""
        return load_recipe(self.recipe, values)

    def to_dict(self) -> dict[str, Any]:
        search = {name: values.model_dump() for name, values in self.settings.items()}
        return {"recipe": self.recipe.model_dump(mode="json", exclude_none=True), "search": search}


def read_search_space(path: Path, settings: Mapping[str, Any] | None = None) -> SearchSpace:
    """A search space from a TOML file: a recipe's fields, or `recipe` with the name of one; and a table `search`.

    settings: override values of the recipe.
    Raises RecipeError: not such a file, a setting that cannot be searched, a bound that the recipe does not take, or a
    recipe that shows the test split as validation.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from None
    search = values.pop(SEARCH, None)
    if not isinstance(search, dict) or not search:
        raise RecipeError(
            f"{path} has no table [search]. Add one with the settings to try, for example\n[search]\n"
            '"optimizer.learning_rate" = {low = 0.001, high = 0.1, log = true}'
        )
    recipe = _recipe(path, values, settings or {})
    space = SearchSpace(recipe, {name: _values(path, name, given) for name, given in _flat(search).items()})
    _check(path, space)
    return space


def _recipe(path: Path, values: dict[str, Any], settings: Mapping[str, Any]) -> Recipe:
    base = values.pop(BASE, None)
    if base is None:
        return load_recipe(parse_recipe({"name": path.stem, **values}, str(path)), settings)
    if values:
        raise RecipeError(f"{path} names the recipe {base!r} and has fields of its own: {', '.join(values)}. Use one.")
    beside = path.parent / str(base)
    return load_recipe(beside if beside.is_file() else str(base), settings)


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables as dotted names, so that [search.optimizer] works as well."""
    flat: dict[str, Any] = {}
    for name, given in table.items():
        if isinstance(given, dict) and not {"low", "high", "choices"} & set(given) and given:
            flat |= _flat(given, f"{above}{name}.")
        else:
            flat[above + name] = given
    return flat


def _values(path: Path, name: str, given: Any) -> Range | Choices:
    if name.split(".")[0] in FIXED:
        raise RecipeError(f"{path}: {name} cannot be searched, because trials would no longer be comparable.")
    kind: type[Range] | type[Choices] = Choices if isinstance(given, dict) and "choices" in given else Range
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        why = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise RecipeError(
            f"{path}: search.{name} is {given!r}: {why}.\nUse {{low = 0.001, high = 0.1, log = true}} or "
            "{choices = [64, 128]}."
        ) from None


def _check(path: Path, space: SearchSpace) -> None:
    if space.recipe.validation.name == "show-test":
        raise RecipeError(
            f"The recipe {space.recipe.name!r} shows the test split as validation, so a sweep would choose on it.\n"
            "Use --set validation.name=carve."
        )
    if space.recipe.members > 1:
        raise RecipeError(f"The recipe {space.recipe.name!r} has {space.recipe.members} members. A sweep needs 1.")
    names = [name for name in space.settings if name.endswith((".name", ".type"))]
    if names:
        return  # whether the other settings fit depends on the name that is drawn
    for setting, values in space.settings.items():
        for value in values.bounds:
            space.with_values({setting: value})
