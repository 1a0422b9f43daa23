"""Cross-validation: predicts every image with a network that did not train on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from misread.data.image_hash import image_hashes
from misread.data.image_set import Split
from misread.data.splits import carve
from misread.errors import DataError
from misread.models.backbone import Backbone
from misread.training.callbacks import Callback, drive, recipe_callbacks
from misread.training.choose_backend import make_backend
from misread.training.fit import fit_members
from misread.training.networks import (
    examples_for,
    load_members,
    members,
    predictor_network,
    recipe_backbone,
    recipe_network,
)
from misread.training.predict import Predictor
from misread.training.recipe import Recipe
from misread.training.session import TrainState

# labels (M,) int64, held-out probs (M, K), probs (F - 1, L, K) of the same networks for L images whose labels they must
# not know -> (M,) bool, the labels that look wrong
LooksWrong = Callable[[np.ndarray, np.ndarray, Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class FoldDone:
    """A network was trained on n_train images and predicted n_held_out others. `accuracy` on these is in [0, 1]."""

    n_train: int
    n_held_out: int
    accuracy: float
    fit_seconds: float


class FoldCallback(Callback):
    """A callback for a cross-validation. Its inherited methods are called in every training."""

    def on_fold_end(self, fold: FoldDone) -> None:
        """After each training and the predictions of its network."""


def predict_folds(
    pool: Split,
    folds_of: np.ndarray,
    recipe: Recipe,
    n_classes: int,
    device: torch.device,
    looks_wrong: LooksWrong | None = None,
    callbacks: Sequence[FoldCallback] = (),
) -> np.ndarray:
    """Train a network for each fold on the images outside the fold, and predict the fold with it.

    folds_of:    (N,) int64, the fold 0..F-1 of each image in the pool; -1 for images that are only trained on.
    looks_wrong: if set, the networks train without the images whose labels look wrong to it. It sees the predictions
                 of other networks: one for each pair of folds, trained on the remaining folds. So the label of an image
                 never influences its own probabilities, not even through the choice of training images. It also sees
                 what these networks predict for the fold itself, all of them for the same images.
    Returns probs (N, K) float32, 0 for images without a fold.
    Exact copies of a held-out image are not trained on. With early stopping or a target accuracy, the validation images
    are carved from the training images. Otherwise `val_loss` and `val_accuracy` are those of the held-out fold.
    Raises DataError: no image is left to train a network on. Raises TrainingError: a loss is no longer finite.
    """
    numbers: dict[str, int] = {}
    contents = np.array([numbers.setdefault(image, len(numbers)) for image in image_hashes(pool.images)])
    folds = range(int(folds_of.max()) + 1)
    frozen = recipe.backbone is not None and not recipe.backbone.fine_tune
    backbone = recipe_backbone(recipe) if frozen else None  # one for all networks, because it never changes
    may_train = np.ones((len(folds), len(pool)), bool)

    def predicted(held_out: np.ndarray, allowed: np.ndarray) -> np.ndarray:
        """probs (M, K) of the images at these M positions, from a network trained on other images."""
        train = np.flatnonzero(allowed & ~np.isin(contents, contents[held_out]))
        if not len(train):
            raise DataError(
                f"No image is left to train on when {len(held_out):,} and their exact copies are held out. Add images."
            )
        predictor, state = _trained(
            pool.view(train), pool.take(held_out), recipe, n_classes, device, backbone, callbacks
        )
        probs = predictor.probs(np.asarray(pool.images[held_out]))
        accuracy = float((probs.argmax(axis=1) == pool.labels[held_out]).mean())
        for callback in callbacks:
            callback.on_fold_end(FoldDone(len(train), len(held_out), accuracy, state.clock.fit_seconds))
        return probs

    if looks_wrong:
        may_train = _without_wrong_labels(pool.labels, folds_of, n_classes, predicted, looks_wrong)
    all_probs = np.zeros((len(pool), n_classes), np.float32)
    for fold in folds:
        held_out = np.flatnonzero(folds_of == fold)
        all_probs[held_out] = predicted(held_out, may_train[fold])
    return all_probs


def _without_wrong_labels(
    labels: np.ndarray,
    folds_of: np.ndarray,
    n_classes: int,
    predicted: Callable[[np.ndarray, np.ndarray], np.ndarray],
    looks_wrong: LooksWrong,
) -> np.ndarray:
    """(F, N) bool: for each fold, the images to train on, by networks that saw neither it nor the image's own fold.

    predicted: (positions held out, (N,) bool allowed) -> probs (M, K); it trains a network.
    """
    folds = range(int(folds_of.max()) + 1)
    may_train = np.ones((len(folds), len(labels)), bool)
    unseen = np.zeros((len(folds), len(labels), n_classes), np.float32)  # [f]: from networks that did not train on f
    of_itself: list[list[np.ndarray]] = [[] for _ in folds]
    for pair in combinations(folds, 2):
        held_out = np.flatnonzero(np.isin(folds_of, pair))
        probs = predicted(held_out, np.ones(len(labels), bool))
        for fold, other in (pair, pair[::-1]):
            unseen[fold, held_out[folds_of[held_out] == other]] = probs[folds_of[held_out] == other]
            of_itself[fold].append(probs[folds_of[held_out] == fold])
    for fold in folds:
        others = np.flatnonzero(folds_of != fold)
        may_train[fold, others] = ~looks_wrong(labels[others], unseen[fold, others], of_itself[fold])
    return may_train


def _trained(
    train: Split,
    held_out: Split,
    recipe: Recipe,
    n_classes: int,
    device: torch.device,
    backbone: Backbone | None,
    callbacks: Sequence[Callback],
) -> tuple[Predictor, TrainState]:
    """The predictor of a trained network, and the final state of its training."""
    val = held_out
    if recipe.early_stopping or recipe.target_accuracy:
        rest, carved = carve(train.labels, recipe.validation.fraction, recipe.seed)
        if not len(carved):
            raise DataError(
                f"{len(train)} training images are too few to carve validation images for early "
                "stopping. Add images, or use a recipe without it."
            )
        train, val = train.view(rest), train.take(carved)
    height, width, channels = train.images.shape[1:]
    shape, recipe = (height, width, channels), recipe.for_images(len(train))
    network = recipe_network(recipe, shape, n_classes, train.images, backbone).to(device)
    networks, state = members(network), TrainState(recipe.member_seed(0))
    examples, val_examples = (examples_for(network, device, split) for split in (train, val))
    events = fit_members(
        lambda member, seed: make_backend(networks[member], shape, device, recipe, seed),
        recipe,
        examples,
        val_examples,
        state,
    )
    drive(events, state, [*recipe_callbacks(recipe), *callbacks])
    trained = load_members(network, state.final_weights())
    return Predictor(predictor_network(trained, recipe), shape, device), state
