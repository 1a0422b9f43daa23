"""misread trains a small-image classifier in seconds and shows every image that it misread.

The names below are the public API. Each is loaded on first use, so importing misread is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from misread.version import __version__ as __version__

_HOME = {
    "Callback": "misread.training.callbacks",
    "DataError": "misread.errors",
    "ExportError": "misread.errors",
    "ImageSet": "misread.data.image_set",
    "MisreadClassifier": "misread.lab.estimator",
    "MisreadError": "misread.errors",
    "Predictions": "misread.runs.predictions",
    "Recipe": "misread.training.recipe",
    "RecipeError": "misread.errors",
    "Run": "misread.runs.run",
    "RunError": "misread.errors",
    "TrainingError": "misread.errors",
    "compare": "misread.runs.compare",
    "cross_val_predict": "misread.runs.held_out",
    "export": "misread.lab.export",
    "load": "misread.data.load",
    "load_recipe": "misread.training.recipe",
    "open_keras": "misread.lab.keras_file",
    "open_run": "misread.runs.run",
    "push": "misread.lab.push",
    "reproduce": "misread.runs.reproduce",
    "resume": "misread.runs.train",
    "train": "misread.runs.train",
    "train_seeds": "misread.runs.seeds",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from misread.data.image_set import ImageSet as ImageSet
    from misread.data.load import load as load
    from misread.errors import DataError as DataError
    from misread.errors import ExportError as ExportError
    from misread.errors import MisreadError as MisreadError
    from misread.errors import RecipeError as RecipeError
    from misread.errors import RunError as RunError
    from misread.errors import TrainingError as TrainingError
    from misread.lab.estimator import MisreadClassifier as MisreadClassifier
    from misread.lab.export import export as export
    from misread.lab.keras_file import open_keras as open_keras
    from misread.lab.push import push as push
    from misread.runs.compare import compare as compare
    from misread.runs.held_out import cross_val_predict as cross_val_predict
    from misread.runs.predictions import Predictions as Predictions
    from misread.runs.reproduce import reproduce as reproduce
    from misread.runs.run import Run as Run
    from misread.runs.run import open_run as open_run
    from misread.runs.seeds import train_seeds as train_seeds
    from misread.runs.train import resume as resume
    from misread.runs.train import train as train
    from misread.training.callbacks import Callback as Callback
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
