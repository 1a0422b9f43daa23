"""Cross-validation: every image predicted by a network that did not train on it."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from misread.data.image_hash import image_hashes
from misread.data.image_set import Split
from misread.data.splits import carve
from misread.errors import DataError
from misread.training.early_stopping import BestWeights
from misread.training.evaluate import predict_probs
from misread.training.events import STOP, EpochEnded, Event, Finished
from misread.training.fit import Examples
from misread.training.fit_members import fit_members
from misread.training.networks import members, predictor, recipe_network
from misread.training.recipe import Recipe


@dataclass(frozen=True)
class FoldPredicted:
    """A fold's network is trained, and has predicted the images of its fold.

    positions: (M,) int64, the images of the fold. probs: (M, K) float32. accuracy: on them, in [0, 1].
    n_train:   how many images trained the network, or chose when to stop it.
    """

    positions: np.ndarray
    probs: np.ndarray
    accuracy: float
    n_train: int
    fit_seconds: float


def predict_folds(
    pool: Split, folds_of: np.ndarray, recipe: Recipe, n_classes: int, device: torch.device, trains: np.ndarray
) -> Generator[Event | FoldPredicted, None, None]:
    """Train a network for each fold on the images outside it, and predict the fold; a generator of what happens.

    folds_of: (N,) int64, the fold 0..F-1 that each image of the pool belongs to; -1 for images that only train.
    trains:   (N,) bool, the images that may train; all are predicted.
    An image that is an exact copy of one in the fold does not train its network either. With early stopping, the
    images that choose are carved from those that would train; else the fold is what `val_loss` and `val_accuracy` show.
    Raises DataError: nothing is left to train a fold's network on. Raises TrainingError: a loss is no longer finite.
    """
    contents = np.unique(image_hashes(pool.images), return_inverse=True)[1]
    for fold in range(int(folds_of.max()) + 1):
        held = np.flatnonzero(folds_of == fold)
        kept = np.flatnonzero(trains & ~np.isin(contents, contents[held]))  # the fold itself is among its contents
        if not len(kept):
            raise DataError(f"No image is left to train on when {len(held):,} and their exact copies are held out.")
        network, finished = yield from _trained(pool.take(kept), pool.take(held), recipe, n_classes, device)
        probs = predict_probs(network, np.asarray(pool.images[held]), device)
        accuracy = float((probs.argmax(axis=1) == pool.labels[held]).mean())
        yield FoldPredicted(held, probs, accuracy, len(kept), finished.fit_seconds)


def _trained(
    train: Split, held: Split, recipe: Recipe, n_classes: int, device: torch.device
) -> Generator[Event, None, tuple[nn.Module, Finished]]:
    """What predicts, and how its training ended."""
    best = BestWeights(recipe.early_stopping) if recipe.early_stopping else None
    val = held
    if best:
        kept, chooses = carve(train.labels, recipe.validation.fraction, recipe.seed)
        if not len(chooses):
            raise DataError(f"{len(train)} training images are too few to carve some that choose when to stop early.")
        train, val = train.take(kept), train.take(chooses)
    height, width, channels = train.images.shape[1:]
    network = recipe_network(recipe, (height, width, channels), n_classes).to(device)
    examples = [Examples.on(device, np.asarray(s.images), s.labels) for s in (train, val)]
    events = fit_members(members(network), recipe, examples[0], examples[1], n_classes)
    answer: str | None = None
    while True:
        event = events.send(answer)
        yield event
        if isinstance(event, Finished):
            break
        answer = STOP if best and isinstance(event, EpochEnded) and best.had_enough(event) else None
    if best:
        best.restore(network)
    return predictor(event.network, recipe), event
