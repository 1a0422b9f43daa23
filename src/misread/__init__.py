"""misread trains a small-image classifier in seconds and shows every image that it misread.

The names below are the public API. Each is loaded on first use, so importing misread is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from misread.version import __version__ as __version__

_HOME = {
    "DataError": "misread.errors",
    "ImageSet": "misread.data.image_set",
    "MisreadError": "misread.errors",
    "Predictions": "misread.runs.predictions",
    "Recipe": "misread.training.recipe",
    "RecipeError": "misread.errors",
    "Run": "misread.runs.run",
    "RunError": "misread.errors",
    "TrainingError": "misread.errors",
    "compare": "misread.runs.compare",
    "cross_validate": "misread.runs.held_out",
    "load": "misread.data.load",
    "load_recipe": "misread.training.recipe",
    "open_run": "misread.runs.run",
    "train": "misread.runs.train",
    "train_seeds": "misread.runs.seeds",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from misread.data.image_set import ImageSet as ImageSet
    from misread.data.load import load as load
    from misread.errors import DataError as DataError
    from misread.errors import MisreadError as MisreadError
    from misread.errors import RecipeError as RecipeError
    from misread.errors import RunError as RunError
    from misread.errors import TrainingError as TrainingError
    from misread.runs.compare import compare as compare
    from misread.runs.held_out import cross_validate as cross_validate
    from misread.runs.predictions import Predictions as Predictions
    from misread.runs.run import Run as Run
    from misread.runs.run import open_run as open_run
    from misread.runs.seeds import train_seeds as train_seeds
    from misread.runs.train import train as train
    from misread.training.recipe import Recipe as Recipe
    from misread.training.recipe import load_recipe as load_recipe


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'misread' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
