"""`train`: data and a recipe in, a run out."""

import itertools
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from misread.data.geometry import measure_geometry
from misread.data.image_set import ImageSet, Split, build_image_set
from misread.data.label_patch import read_patch
from misread.data.load import load
from misread.data.splits import carve
from misread.errors import DataError, RecipeError
from misread.models.network import network_logits
from misread.models.summary import Summary, summarise
from misread.progress import Listener, pick_listener
from misread.runs import run_folder
from misread.runs.history import COLUMNS, History
from misread.runs.predictions import Predictions
from misread.runs.record import (
    DataRecord,
    EngineRecord,
    ModelRecord,
    RunRecord,
    Timing,
    label_patch_record,
    this_environment,
)
from misread.runs.run import GRID, Run
from misread.training.device import pick_device, using_threads
from misread.training.early_stopping import BestWeights, TargetAccuracy
from misread.training.evaluate import predict_probs
from misread.training.events import STOP, EpochEnded, Event, Finished
from misread.training.fit import Examples
from misread.training.fit_members import fit_members
from misread.training.losses import resolve_loss
from misread.training.networks import members, predictor, recipe_network
from misread.training.recipe import Recipe, load_recipe


def train(
    data: Any,
    recipe: str | Path | Recipe = "tutorial-mlp",
    *,
    network: nn.Module | None = None,
    labels: str | Path | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    settings: Sequence[str] = (),
    out: str | Path = "runs",
    device: str = "auto",
    threads: int | None = None,
    progress: Listener | bool = True,
) -> Run:
    """Train a network by a recipe and write the run folder.

    data:     an image set; a name or path that `load` takes; `(images, labels)`; or Keras's
              `((x_train, y_train), (x_test, y_test))`. Labels are whole numbers (N,) or one-hot (N, K).
    recipe:   a named recipe, a TOML file, or a Recipe; `seed`, `epochs` and `settings` ("key=value") override it.
    network:  any module that takes (B, C, H, W) float32 in [0, 1] and gives logits (B, K); it is trained in place,
              instead of the recipe's layers; a recipe of several members takes none.
    labels:   a label patch: training and validation take the labels fixed by it, the test score is given on the
              labels as loaded, and on the fixed ones too.
    out:      the folder that gets the run folder `<time>-<recipe>`.
    progress: True shows it where it belongs (terminal, notebook, plain lines), False shows nothing.
    Raises DataError, RecipeError, RunError: before training, for what cannot be used as it is.
    Raises TrainingError: the loss is no longer finite.
    Ctrl-C ends the training: what was trained so far becomes the run, with status `interrupted`.
    """
    started = time.perf_counter()
    overrides = [f"{key}={value}" for key, value in (("seed", seed), ("epochs", epochs)) if value is not None]
    resolved = load_recipe(recipe, [*settings, *overrides])
    chosen = pick_device(device)
    images = as_image_set(data)
    resolved = resolved.model_copy(update={"loss": resolve_loss(resolved.loss, images.one_hot)})
    listener = progress if not isinstance(progress, bool) else pick_listener(quiet=not progress)
    fixed = read_patch(labels).fix(images) if labels is not None else None
    splits = training_splits(images, resolved, fixed.data if fixed else None)
    resolved = resolved.for_images(len(splits.train))
    created = time.strftime("%Y%m%d-%H%M%S")
    with using_threads(threads) as thread_count, torch.random.fork_rng(devices=[]):
        torch.manual_seed(resolved.seed)
        prepare_started = time.perf_counter()
        net = _checked_network(network, images, resolved).to(chosen)
        summary = summarise(net, images.image_shape)
        with (
            run_folder.new_run_folder(Path(out), f"{created}-{resolved.name}", summary.size_bytes) as writing,
            _interruptible() as asked,
        ):
            folder = writing.path
            listener.started(images, resolved, summary, len(splits.train), len(splits.val), splits.validation)
            best = BestWeights(resolved.early_stopping) if resolved.early_stopping else None
            target = TargetAccuracy(resolved.target_accuracy) if resolved.target_accuracy else None
            examples = [Examples.on(chosen, s.images, s.labels) for s in (splits.train, splits.val)]
            prepare_seconds = time.perf_counter() - prepare_started
            networks = members(net) if network is None else [net]
            events = fit_members(networks, resolved, examples[0], examples[1], images.n_classes)
            finished = _listen(events, listener, [s for s in (target, best) if s], asked)
            interrupted = asked.is_set()
            if target and target.reached:
                best = None  # the epoch that reached the target is the one that was asked for
            if best:
                best.restore(net)
            net = finished.network
            evaluate_started = time.perf_counter()
            predictions = _predict_test(predictor(net, resolved), images, chosen)
            evaluate_seconds = time.perf_counter() - evaluate_started
            run_recipe = resolved.model_copy(
                update={"members": len(members(net))} if network is None else {"members": 1, "layers": ()}
            )
            _write(folder, run_recipe, net, finished, predictions, splits)
            metrics = {"test": predictions.metrics(resolved.top_k)}
            if fixed:
                (folder / run_folder.LABEL_PATCH).write_bytes(fixed.patch.contents)
                on_fixed = predictions.with_labels(fixed.data.test.labels)
                metrics["test_fixed"] = on_fixed.metrics(resolved.top_k)
            timing = Timing(
                load_seconds=images.load_seconds,
                fit_seconds=prepare_seconds + finished.fit_seconds,
                validate_seconds=finished.validate_seconds,
                evaluate_seconds=evaluate_seconds,
                total_seconds=time.perf_counter() - started,
            )
            record = RunRecord(
                status="interrupted" if interrupted else "complete",
                created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                seed=resolved.seed,
                recipe=resolved.name,
                epochs_trained=len(finished.history),
                best_epoch=best.epoch if best else None,
                target_reached=target.reached if target else None,
                data=_data_record(images, splits),
                model=_model_record(network, summarise(net, images.image_shape)),
                environment=this_environment(thread_count, str(chosen)),
                engine=EngineRecord(**asdict(finished.engine)),
                timing=timing,
                label_patch=label_patch_record(fixed) if fixed else None,
                metrics=metrics,
            )
            run = Run(folder, record, data=images, device=device)
            run.network = predictor(net, resolved).eval()
            _draw(run)
            run_folder.write_text(folder / run_folder.RECORD, record.model_dump_json(indent=2) + "\n")
    run.folder = writing.path
    listener.finished(run)
    return run


def as_image_set(data: Any) -> ImageSet:
    """The image set for whatever `train` takes as data. Raises DataError: it is nothing of the kind."""
    if isinstance(data, ImageSet):
        return data
    if isinstance(data, str | Path):
        return load(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        first, second = data
        if isinstance(first, tuple | list) and isinstance(second, tuple | list) and len(first) == len(second) == 2:
            return build_image_set("arrays", {"train": (first[0], first[1]), "test": (second[0], second[1])})
        return build_image_set("arrays", {"train": (first, second)})
    raise DataError(
        f"The data is a {type(data).__name__}; needed is an image set, a name or path, (images, labels), or "
        "((x_train, y_train), (x_test, y_test))."
    )


@dataclass(frozen=True)
class TrainingSplits:
    """The images that train and those that choose. `validation` says in words where the latter came from."""

    train: Split
    val: Split
    validation: str
    carved: bool


def training_splits(data: ImageSet, recipe: Recipe, fixed: ImageSet | None = None) -> TrainingSplits:
    """What trains and what chooses, by the recipe's validation setting.

    fixed: the same data with the labels to train on, where these are not its own. What is carved stays the same.
    """
    told = fixed or data
    if recipe.validation.name == "show-test":
        return TrainingSplits(told.train, told.test, "the test split, shown; nothing is chosen on it", False)
    if told.val is not None:
        return TrainingSplits(told.train, told.val, "the data's own validation split", False)
    kept, held = carve(data.train.labels, recipe.validation.fraction, recipe.seed)
    if not len(held):
        raise DataError(
            f"{data.name} has {len(data.train)} training images, too few to carve a validation split from.\n"
            'Add images, or use a recipe with validation.name = "show-test".'
        )
    said = f"{recipe.validation.fraction:.0%} of each class, carved from train by seed {recipe.seed}"
    return TrainingSplits(told.train.view(kept), told.train.take(held), said, True)


def _checked_network(network: nn.Module | None, data: ImageSet, recipe: Recipe) -> nn.Module:
    if network is None:
        if not recipe.layers:
            raise RecipeError(f"The recipe {recipe.name!r} has no layers. List them, or give a network in Python.")
        return recipe_network(recipe, data.image_shape, data.n_classes)
    if recipe.members > 1:
        raise RecipeError(
            f"The recipe {recipe.name!r} has {recipe.members} members, but a network given in Python is one.\n"
            "Set members to 1, or list the network's layers in the recipe."
        )
    height, width, channels = data.image_shape
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    was_training = network.training
    try:
        with torch.no_grad():
            images = torch.zeros(2, height, width, channels, dtype=torch.uint8, device=device)
            logits = network_logits(network.eval(), images)
    except Exception as error:
        raise RecipeError(
            f"The network {type(network).__name__} cannot take a batch of (2, {channels}, {height}, {width}) float32: "
            f"{error}"
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(logits, Tensor) or logits.shape != (2, data.n_classes):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise RecipeError(
            f"The network {type(network).__name__} gives {given} for two images; needed are logits (2, "
            f"{data.n_classes}), one for each class."
        )
    return network


def _listen(
    events: Generator[Event, str | None, None],
    listener: Listener,
    stoppers: Sequence[BestWeights | TargetAccuracy],
    asked: threading.Event,
) -> Finished:
    """Hand every event to those who listen, and their wish to stop, or Ctrl-C's, back to the loop."""
    answer: str | None = None
    try:
        while True:
            event = events.send(answer)
            listener.event(event)
            if isinstance(event, Finished):
                return event
            had_enough = isinstance(event, EpochEnded) and any(s.had_enough(event) for s in stoppers)
            answer = STOP if asked.is_set() or had_enough else None
    finally:
        listener.close()


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that the loop ends between two steps and the run is still written; a third insists."""
    asked, presses = threading.Event(), itertools.count(1)
    if threading.current_thread() is not threading.main_thread():  # only it receives signals
        yield asked
        return

    def ask(signum: int, frame: Any) -> None:
        if next(presses) > 2:
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _write(
    folder: Path,
    recipe: Recipe,
    network: nn.Module,
    finished: Finished,
    predictions: Predictions,
    splits: TrainingSplits,
) -> None:
    import safetensors.torch as safetensors

    run_folder.write_text(folder / run_folder.RECIPE, recipe.to_toml())
    # cloned, since a module may share tensors between its parts, which the format refuses
    weights = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in network.state_dict().items()}
    (folder / run_folder.WEIGHTS).write_bytes(safetensors.save(weights))
    history = History.of(finished.history)
    columns = [*COLUMNS, *(c for c in history.columns if c not in COLUMNS)]
    history[columns].to_csv(folder / run_folder.HISTORY, index=False)
    if splits.carved:
        np.savez(folder / run_folder.SPLITS, train_rows=splits.train.rows, val_rows=splits.val.rows)
    arrays = {"labels": predictions.labels, "probs": predictions.probs, "index": predictions.rows}
    if predictions.files is not None:
        arrays["files"] = np.array(predictions.files, dtype=str)
    np.savez_compressed(folder / run_folder.predictions_file("test"), **arrays)  # type: ignore[arg-type]
    predictions.misreads.table.to_csv(folder / run_folder.misreads_file("test"), index=False)


def _draw(run: Run) -> None:
    """What the lesson looks at first; the other figures come with the report."""
    figures = run.folder / run_folder.FIGURES
    figures.mkdir()
    run.history.plot().save(figures / "history.png")
    run.misreads.sample(GRID, seed=0).figure().save(figures / "misreads.png")


def _predict_test(network: nn.Module, data: ImageSet, device: torch.device) -> Predictions:
    test = data.test
    probs = predict_probs(network, test.images, device)
    return Predictions(test.labels, probs, data.class_names, test.rows, test.files, images=test.images)


def _model_record(given: nn.Module | None, summary: Summary) -> ModelRecord:
    """given: the module that the user brought, or None where the recipe's layers were built."""
    return ModelRecord(
        network="recipe" if given is None else type(given).__qualname__,
        parameters=summary.parameters,
        trainable=summary.trainable,
        bytes=summary.size_bytes,
    )


def _data_record(data: ImageSet, splits: TrainingSplits) -> DataRecord:
    return DataRecord(
        name=data.name,
        source=data.source,
        size=data.size,
        fingerprint=data.fingerprint,
        class_names=data.class_names,
        image_shape=data.image_shape,
        n_train=len(splits.train),
        n_val=len(splits.val),
        n_test=len(data.test),
        validation=splits.validation,
        carved_test=data.carved_test,
        geometry=asdict(measure_geometry(data.train.images)),
    )
