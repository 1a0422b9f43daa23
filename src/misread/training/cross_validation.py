"""Cross-validation: predicts every image with a network that did not train on it."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
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
from misread.training.device import using_threads
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
from misread.training.worker_progress import ReportSteps, TrainingProgress, training_need
from misread.workers import Cluster, Report, TaskDone, run_tasks

FILTER_GROUPS = 4  # of folds, of which the filter holds out two at a time

# labels (M,) int64, held-out probs (M, K), probs (L, K) of each of several networks for L images whose labels they must
# not know -> (M,) bool, the labels that look wrong
LooksWrong = Callable[[np.ndarray, np.ndarray, Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class FoldDone:
    """A network was trained on n_train images and predicted n_held_out others. `accuracy` on these is in [0, 1].

    cpu_seconds: of all threads of the process, for both.
    """

    n_train: int
    n_held_out: int
    accuracy: float
    fit_seconds: float
    cpu_seconds: float


class FoldCallback(Callback):
    """A callback for a cross-validation. Its inherited methods are called in every training of this process."""

    def on_fold_end(self, fold: FoldDone) -> None:
        """After each training and the predictions of its network."""

    def on_worker(self, worker: int, training: str, now: TrainingProgress) -> None:
        """After some steps of a training in another process. worker: its number, from 0. training: its name."""

    def on_workers_end(self) -> None:
        """After the last training of several processes, also if one ended with an error."""


@dataclass(frozen=True)
class FoldTask:
    """One training of a cross-validation: (M,) int64 positions in the pool, of those held out and those trained on."""

    held_out: np.ndarray
    train: np.ndarray


@dataclass(frozen=True)
class Trainings:
    """What all trainings of a cross-validation have in common."""

    pool: Split
    recipe: Recipe
    n_classes: int
    device: torch.device

    @cached_property
    def backbone(self) -> Backbone | None:
        """One for all networks, if it never changes."""
        spec = self.recipe.backbone
        return recipe_backbone(self.recipe) if spec is not None and not spec.fine_tune else None

    def predicted(self, task: FoldTask, callbacks: Sequence[Callback]) -> tuple[np.ndarray, FoldDone]:
        """probs (M, K) of the images held out, from a network trained on the others."""
        cpu_started = time.process_time()
        train, held_out = self.pool.view(task.train), self.pool.take(task.held_out)
        predictor, state = _trained(train, held_out, self.recipe, self.n_classes, self.device, self.backbone, callbacks)
        probs = predictor.probs(np.asarray(held_out.images))
        accuracy = float((probs.argmax(axis=1) == held_out.labels).mean())
        seconds = state.clock.fit_seconds, time.process_time() - cpu_started
        return probs, FoldDone(len(train), len(held_out), accuracy, *seconds)


def predict_folds(
    pool: Split,
    folds_of: np.ndarray,
    recipe: Recipe,
    n_classes: int,
    device: torch.device,
    looks_wrong: LooksWrong | None = None,
    callbacks: Sequence[FoldCallback] = (),
    workers: int | Cluster = 1,
) -> np.ndarray:
    """Train a network for each fold on the images outside the fold, and predict the fold with it.

    folds_of:    (N,) int64, the fold 0..F-1 of each image in the pool; -1 for images that are only trained on.
    looks_wrong: if set, the networks train without the images whose labels look wrong to it. It sees the predictions
                 of other networks, which trained neither on these images nor on the fold: see `filter_networks`. So the
                 label of an image never influences its own probabilities, not even through the choice of training
                 images. It also sees what these networks predict for the fold itself, all of them for the same images.
    workers:     processes that train at the same time, or a cluster, each with this process's number of torch's
                 threads. The result is the same, bit for bit, whoever trains.
    Returns probs (N, K) float32, 0 for images without a fold.
    Exact copies of a held-out image are not trained on. With early stopping or a target accuracy, the validation images
    are carved from the training images. Otherwise `val_loss` and `val_accuracy` are those of the held-out fold.
    Raises DataError: no image is left to train a network on. Raises TrainingError: a loss is no longer finite.
    Raises TaskFailed: the process of a worker died in each attempt.
    """
    numbers: dict[str, int] = {}
    contents = np.array([numbers.setdefault(image, len(numbers)) for image in image_hashes(pool.images)])
    folds = range(int(folds_of.max()) + 1)
    trainings = Trainings(pool, recipe, n_classes, device)

    def predicted(held_out: Sequence[np.ndarray], allowed: Sequence[np.ndarray]) -> list[np.ndarray]:
        """For each training the probs (M, K) of the images at these M positions, from a network trained on others.

        allowed: (N,) bool for each training, which images it may train on.
        """
        tasks = [_fold_task(own, may_train, contents) for own, may_train in zip(held_out, allowed, strict=True)]
        if workers != 1:
            return _in_workers(trainings, tasks, workers, callbacks)
        return [_in_turn(trainings, task, callbacks) for task in tasks]

    may_train = np.ones((len(folds), len(pool)), bool)
    if looks_wrong:
        may_train = _without_wrong_labels(pool.labels, folds_of, n_classes, predicted, looks_wrong)
    all_probs = np.zeros((len(pool), n_classes), np.float32)
    positions = [np.flatnonzero(folds_of == fold) for fold in folds]
    for held_out, probs in zip(positions, predicted(positions, list(may_train)), strict=True):
        all_probs[held_out] = probs
    return all_probs


def filter_networks(folds: int) -> list[list[int]]:
    """The folds that each of the filter's networks holds out: every two folds are held out together by one of them.

    The folds are put into `FILTER_GROUPS` groups, and every pair of groups is held out. So the number of networks does
    not grow with the number of folds, and each trains on about half of the images.
    """
    groups = np.array_split(np.arange(folds), min(folds, FILTER_GROUPS))
    return [[*map(int, a), *map(int, b)] for a, b in combinations(groups, 2)]


def _fold_task(held_out: np.ndarray, may_train: np.ndarray, contents: np.ndarray) -> FoldTask:
    """contents: (N,) int64, equal for exact copies."""
    train = np.flatnonzero(may_train & ~np.isin(contents, contents[held_out]))
    if not len(train):
        raise DataError(
            f"No image is left to train on when {len(held_out):,} and their exact copies are held out. Add images."
        )
    return FoldTask(held_out, train)


def _in_turn(trainings: Trainings, task: FoldTask, callbacks: Sequence[FoldCallback]) -> np.ndarray:
    probs, fold = trainings.predicted(task, callbacks)
    for callback in callbacks:
        callback.on_fold_end(fold)
    return probs


def _in_workers(
    trainings: Trainings, tasks: Sequence[FoldTask], workers: int | Cluster, callbacks: Sequence[FoldCallback]
) -> list[np.ndarray]:
    """The probs of each task, in the order of the tasks. Folds end in any order."""
    probs: dict[int, np.ndarray] = {}
    threads = torch.get_num_threads()
    function, need = partial(_in_worker, trainings, threads), training_need(threads, trainings.device)
    try:
        with closing(run_tasks(function, tasks, workers, need)) as events:
            for event in events:
                if isinstance(event, TaskDone):
                    if event.error:
                        raise event.error
                    probs[event.index], fold = event.result
                    for callback in callbacks:
                        callback.on_fold_end(fold)
                else:
                    for callback in callbacks:
                        callback.on_worker(event.worker, f"training {event.index + 1}", event.value)
    finally:
        for callback in callbacks:
            callback.on_workers_end()
    return [probs[index] for index in range(len(tasks))]


def _in_worker(trainings: Trainings, threads: int, task: FoldTask, report: Report) -> tuple[np.ndarray, FoldDone]:
    with using_threads(threads):
        return trainings.predicted(task, [ReportSteps(report)])


def _without_wrong_labels(
    labels: np.ndarray,
    folds_of: np.ndarray,
    n_classes: int,
    predicted: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], list[np.ndarray]],
    looks_wrong: LooksWrong,
) -> np.ndarray:
    """(F, N) bool: for each fold, the images to train on, by networks that saw neither it nor the image's own fold.

    predicted: for each training, (positions held out, (N,) bool allowed) -> probs (M, K).
    """
    folds = range(int(folds_of.max()) + 1)
    may_train = np.ones((len(folds), len(labels)), bool)
    unseen = np.zeros((len(folds), len(labels), n_classes), np.float32)  # [f]: from networks that did not train on f
    of_itself: list[list[np.ndarray]] = [[] for _ in folds]
    networks = filter_networks(len(folds))
    positions = [np.flatnonzero(np.isin(folds_of, own)) for own in networks]
    all_allowed = [np.ones(len(labels), bool)] * len(networks)
    for own, held_out, probs in zip(networks, positions, predicted(positions, all_allowed), strict=True):
        for fold in own:
            of_fold = folds_of[held_out] == fold
            unseen[fold, held_out[~of_fold]] = probs[~of_fold]
            of_itself[fold].append(probs[of_fold])
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
    examples = examples_for(network, device, train, recipe.shuffle_window_mib)
    val_examples = examples_for(network, device, val)
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
