"""`MisreadClassifier`: a training with misread as an estimator of scikit-learn."""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from misread.data.image_set import ImageSet, Split
from misread.data.pixel_rows import PixelRows
from misread.errors import ArrayError
from misread.runs.history import History
from misread.runs.prepare import prepare
from misread.training.auto_recipe import AUTO
from misread.training.callbacks import Callback, drive, recipe_callbacks
from misread.training.device import pick_device, using_threads
from misread.training.fit import fit_members
from misread.training.networks import load_members, predictor_network
from misread.training.predict import Predictor
from misread.training.recipe import Recipe, Settings, parse_settings
from misread.training.session import TrainState

FEATURE_STEPS = 200  # that `auto` trains on features at least; the recipes' numbers are for images, which need more


class MisreadClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Trains a network by a recipe, with the methods of a scikit-learn classifier. It writes no run folder.

    recipe:      a named recipe, a TOML file, or a Recipe. `auto` chooses one that fits the images. For features it is
                 `fast-mlp` with fewer steps.
    settings:    override values of the recipe, for example `{"optimizer.learning_rate": 0.01}`.
    image_shape: (H, W) or (H, W, C) of the images that are the rows of a two-dimensional X; C is 1 or 3. Without it,
                 rows that look like square images are images; other rows are features. See `PixelRows.learn`.
    random_state: the seed, or a numpy RandomState that draws one. None is the recipe's seed, so that every fit gives
                 the same network.
    device, threads: as in `train`.
    callbacks:   called during the training; see `misread.Callback`.

    X is (N, D) numbers, or images (N, H, W) or (N, H, W, C). uint8 stays as it is. Other numbers are brought to 0..255
    by the smallest and largest value that `fit` saw, clipped, and rounded; see `PixelRows`. y is (N,) labels, numbers
    or strings.

    After `fit`: `classes_` (K,), `n_features_in_` D, `feature_names_in_` if X has string names of columns,
    `image_shape_` (H, W, C), `recipe_` (resolved), and `history_` (as `Run.history`).
    """

    def __init__(
        self,
        recipe: str | Path | Recipe = AUTO,
        *,
        settings: Settings | None = None,
        image_shape: Sequence[int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        threads: int | None = None,
        callbacks: Sequence[Callback] | None = None,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device
        self.threads = threads
        self.callbacks = callbacks

    def fit(self, X: Any, y: Any, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X and y; returns the estimator.

        X_val, y_val: the validation images. By default the recipe's share of X is held out as such. A recipe that shows
                      the test split as validation trains on all of X; without X_val its validation scores are on X.
        Raises ValueError: X or y cannot be used. Raises DataError: X is too small to hold out validation images.
        Raises RecipeError: the recipe, a setting or the device cannot be used. Raises TrainingError: the loss is no
        longer finite.
        """
        rows, shape = _flat(X)
        rows, y = validate_data(self, rows, y)
        check_classification_targets(y)
        classes = np.unique(y)
        if len(classes) < 2:
            raise ArrayError(f"y has one class, {classes[0]}. A classifier needs at least two; add images of another.")
        given = self.image_shape
        pixels = PixelRows.learn(rows, shape if given is None else given)
        _check_shape(shape, pixels)
        train = _split(pixels, rows, y, classes)
        val = None if X_val is None else _split(pixels, self._checked(X_val, pixels), y_val, classes)
        self._train(_image_set(train, val, classes), has_val=val is not None)
        self.classes_, self._pixels = classes, pixels
        return self

    def _train(self, data: ImageSet, has_val: bool) -> None:
        settings = parse_settings(self.settings or (), seed=self._seed())
        if self.recipe == AUTO and data.image_shape[0] == 1 and not {"epochs", "min_steps"} & set(settings):
            settings["min_steps"] = FEATURE_STEPS
        with using_threads(self.threads), torch.random.fork_rng(devices=[]):
            job = prepare(data, self.recipe, settings=settings, device=self.device)
            train, val = job.examples()
            state = TrainState(job.recipe.member_seed(0))
            events = fit_members(job.backend, job.recipe, train, val, state)
            drive(events, state, [*recipe_callbacks(job.recipe), *(self.callbacks or ())])
            network = predictor_network(load_members(job.network, state.final_weights()), job.recipe).eval()
        shows_train = job.recipe.validation.name == "show-test" and not has_val
        self.recipe_ = job.recipe
        self.history_ = History.of(state.history, job.recipe.name, "training images" if shows_train else "validation")
        self._classifier = _TrainedNetwork(network, data.image_shape, self.device)

    def _seed(self) -> int | None:
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        return None if self.random_state is None else int(self.random_state)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(N, K) float32, the probability of each of the `classes_`; rows sum to 1. X as in `fit`."""
        check_is_fitted(self)
        images = self._pixels.images(self._checked(X, self._pixels))
        with using_threads(self.threads):
            return self._classifier.probs(images)

    def predict(self, X: Any) -> np.ndarray:
        """(N,) the most probable of the `classes_`. X as in `fit`."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    @property
    def image_shape_(self) -> tuple[int, int, int]:
        """(H, W, C) of the images that the network gets; (1, D, 1) for features."""
        check_is_fitted(self)
        return self._pixels.image_shape

    def _checked(self, X: Any, pixels: PixelRows) -> np.ndarray:
        """X as rows (N, D) that fit those of the training."""
        rows, shape = _flat(X)
        _check_shape(shape, pixels)
        checked: np.ndarray = validate_data(self, rows, reset=False)
        return checked

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_classifier")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True  # as well as two_d_array
        return tags


class _TrainedNetwork:
    """A network that predicts. A copy or a pickle has the network alone, on the CPU, and takes up its device again."""

    def __init__(self, network: nn.Module, image_shape: tuple[int, int, int], device: str) -> None:
        self._network, self._image_shape, self._device = network, image_shape, device
        chosen = pick_device(device)
        self._predictor = Predictor(network.to(chosen), image_shape, chosen)

    def probs(self, images: np.ndarray) -> np.ndarray:
        return self._predictor.probs(images)

    def __getstate__(self) -> Mapping[str, Any]:
        network = copy.deepcopy(self._network).cpu()
        return {"network": network, "image_shape": self._image_shape, "device": self._device}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _flat(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Images (N, H, W) or (N, H, W, C) as rows, and the shape of one of them. Anything else unchanged, and None."""
    ndim = np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", 2)
    if ndim not in (3, 4):
        return X, None
    images = np.asarray(X)
    return images.reshape(len(images), math.prod(images.shape[1:])), images.shape[1:]


def _check_shape(shape: Sequence[int] | None, pixels: PixelRows) -> None:
    """Raises ArrayError: images have another shape than those of the training, or than `image_shape`."""
    if shape is not None and (*shape, 1)[:3] != pixels.image_shape:
        raise ArrayError(
            f"The images of X have the shape {tuple(shape)}, but must have {pixels.image_shape} (H, W, C)."
        )


def _split(pixels: PixelRows, rows: np.ndarray, y: Any, classes: np.ndarray) -> Split:
    """Images with class indices. Raises ArrayError: y has another length, or a label that is not one of the classes."""
    y = np.asarray(y)
    if y.shape != (len(rows),):
        raise ArrayError(f"X_val has {len(rows):,} images, but y_val has the shape {y.shape}. Give one label an image.")
    unknown = ~np.isin(y, classes)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise ArrayError(f"y_val has {y[row]} at row {row:,}, which is not a class of y. Remove it, or add it to y.")
    return Split(pixels.images(rows), np.searchsorted(classes, y).astype(np.int64), np.arange(len(rows)))


def _image_set(train: Split, val: Split | None, classes: np.ndarray) -> ImageSet:
    """An image set to train on. Its test split is only used by recipes that show it as validation."""
    splits = {"train": train, "test": train} if val is None else {"train": train, "val": val, "test": val}
    return ImageSet("X", tuple(map(str, classes)), splits)
