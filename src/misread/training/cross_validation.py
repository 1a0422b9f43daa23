"""Cross-validation: every image predicted by a network that did not train on it."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import combinations

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

# labels (N,) int64 and held-out probs (N, K) -> (N,) bool, the labels that look wrong
LooksWrong = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class NetworkTried:
    """A network is trained, on n_train images, and has read n_held others with this accuracy, in [0, 1]."""

    n_train: int
    n_held: int
    accuracy: float
    fit_seconds: float


@dataclass(frozen=True)
class HeldOutProbs:
    """The last event. probs: (N, K) float32, 0 for images that are in no fold."""

    probs: np.ndarray


def predict_folds(
    pool: Split,
    folds_of: np.ndarray,
    recipe: Recipe,
    n_classes: int,
    device: torch.device,
    looks_wrong: LooksWrong | None = None,
) -> Generator[Event | NetworkTried | HeldOutProbs, None, None]:
    """Train a network for each fold on the images outside it, and predict the fold; a generator of what happens.

    folds_of:    (N,) int64, the fold 0..F-1 that each image of the pool belongs to; -1 for images that only train.
    looks_wrong: given, the networks are trained without the images whose labels it finds wrong. What it is told of
                 them are predictions by networks of their own, one for each pair of folds, trained on all others: so
                 a label has no part in the probabilities of its image, not even by what it makes of other labels.
    An exact copy of an image stays out of training with it. With early stopping, the images that choose are carved
    from those that would train; else what is held out is what `val_loss` and `val_accuracy` show.
    Raises DataError: nothing is left to train a network on. Raises TrainingError: a loss is no longer finite.
    """
    contents = np.unique(image_hashes(pool.images), return_inverse=True)[1]
    folds = range(int(folds_of.max()) + 1)
    trains = np.ones((len(folds), len(pool)), bool)

    def tried(held: np.ndarray, may_train: np.ndarray) -> Generator[Event | NetworkTried, None, np.ndarray]:
        """probs (M, K) of the images at these M positions by a network that trained on others."""
        kept = np.flatnonzero(may_train & ~np.isin(contents, contents[held]))  # held itself is among its contents
        if not len(kept):
            raise DataError(f"No image is left to train on when {len(held):,} and their exact copies are held out.")
        network, finished = yield from _trained(pool.view(kept), pool.take(held), recipe, n_classes, device)
        probs = predict_probs(network, np.asarray(pool.images[held]), device)
        accuracy = float((probs.argmax(axis=1) == pool.labels[held]).mean())
        yield NetworkTried(len(kept), len(held), accuracy, finished.fit_seconds)
        return probs

    if looks_wrong:
        without = np.zeros((len(folds), len(pool), n_classes), np.float32)  # [f]: by networks that saw nothing of f
        for pair in combinations(folds, 2):
            held = np.flatnonzero(np.isin(folds_of, pair))
            probs = yield from tried(held, trains[0])
            for fold, other in (pair, pair[::-1]):
                without[fold, held[folds_of[held] == other]] = probs[folds_of[held] == other]
        for fold in folds:
            others = np.flatnonzero(folds_of != fold)
            trains[fold, others] = ~looks_wrong(pool.labels[others], without[fold, others])
    held_out = np.zeros((len(pool), n_classes), np.float32)
    for fold in folds:
        held = np.flatnonzero(folds_of == fold)
        held_out[held] = yield from tried(held, trains[fold])
    yield HeldOutProbs(held_out)


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
        train, val = train.view(kept), train.take(chooses)
    height, width, channels = train.images.shape[1:]
    recipe = recipe.for_images(len(train))
    network = recipe_network(recipe, (height, width, channels), n_classes).to(device)
    examples = [Examples.on(device, s.images, s.labels) for s in (train, val)]
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
