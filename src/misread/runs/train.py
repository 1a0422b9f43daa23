"""`train`: data and a recipe in, a run out. `resume`: the same for a training that was interrupted."""

import itertools
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from misread import files
from misread.models.summary import summarise
from misread.runs import run_folder
from misread.runs.prepare import Job, as_image_set, prepare
from misread.runs.progress import Progress, pick_progress
from misread.runs.resume import read_start, reopen, reopen_job, resumed_state, write_start
from misread.runs.run import Run
from misread.runs.write_run import write_run
from misread.training.backend import Backend
from misread.training.callbacks import Callback, StopWhen, drive, recipe_callbacks
from misread.training.checkpoints import Checkpoints
from misread.training.device import using_threads
from misread.training.fit import fit_members
from misread.training.networks import load_members
from misread.training.recipe import Recipe, Settings, load_recipe, parse_settings
from misread.training.session import TrainState

RUN_SIZE = (
    11  # times the weights: two checkpoints, each with two moments, an average and a best epoch; the final weights
)


def train(
    data: Any,
    recipe: str | Path | Recipe = "tutorial-mlp",
    *,
    network: nn.Module | None = None,
    label_patch: str | Path | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    seconds: float | None = None,
    target: float | None = None,
    settings: Settings = (),
    out: str | Path = "runs",
    device: str = "auto",
    threads: int | None = None,
    callbacks: Sequence[Callback] = (),
    keep_checkpoints: bool = False,
    progress: Progress | bool = True,
) -> Run:
    """Train a network by a recipe and write the run folder.

    data:     an image set; a name or path that `load` takes; `(images, labels)`; or Keras's
              `((x_train, y_train), (x_test, y_test))`. Labels are whole numbers (N,) or one-hot (N, K).
    recipe:   a named recipe, a TOML file, or a Recipe.
    settings: override the recipe's, like `{"optimizer.learning_rate": 0.01}`. `seed`, `epochs`, `seconds` and `target`
              (`target_accuracy`) are settings too.
    network:  any module that takes (B, C, H, W) float32 in [0, 1] and gives logits (B, K). It is trained in place,
              instead of the recipe's layers. A recipe of several members takes none.
    label_patch: training and validation use the labels fixed by it. The test score is given on the labels as loaded,
              and on the fixed ones too.
    out:      the folder that gets the run folder `<time>-<recipe>`. Until the run is complete, the name ends in
              `.partial`; a training that was killed can be continued from there with `resume`.
    callbacks: called as the training runs; see `misread.Callback`.
    keep_checkpoints: leave the last two checkpoints in the run folder of a complete run.
    progress: True shows it where it belongs (terminal, notebook, plain lines), False shows nothing.
    Raises DataError, RecipeError, RunError: before training, for what cannot be used as it is.
    Raises TrainingError: the loss is no longer finite.
    Ctrl-C ends the training. What was trained so far becomes the run, with status `interrupted`; it can be resumed.
    """
    started = time.perf_counter()
    given = {"seed": seed, "epochs": epochs, "seconds": seconds, "target_accuracy": target}
    overrides = {**parse_settings(settings), **{key: value for key, value in given.items() if value is not None}}
    load_recipe(recipe, overrides)  # a bad recipe is refused before the data is loaded
    images = as_image_set(data, quiet=progress is False)
    with _computing(threads):
        begun = time.perf_counter()
        job = prepare(images, recipe, network=network, label_patch=label_patch, settings=overrides, device=device)
        state = TrainState(job.recipe.member_seed(0))
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{job.recipe.name}"
        with run_folder.new_run_folder(Path(out), name, RUN_SIZE * job.weight_bytes) as folder:
            display = _display(progress)
            run = _carry_out(job, state, folder.path, (started, begun), callbacks, display)
    return _finish(run, folder.path, keep_checkpoints, display)


def resume(
    folder: str | Path,
    *,
    data: Any = None,
    network: nn.Module | None = None,
    threads: int | None = None,
    anyway: bool = False,
    callbacks: Sequence[Callback] = (),
    keep_checkpoints: bool = False,
    progress: Progress | bool = True,
) -> Run:
    """Continue a training that was interrupted or killed, from its last checkpoint.

    The weights, the history (but for its seconds) and the predictions are those of a training that was never
    interrupted, bit for bit. Those of a training by `seconds` are not, because its steps depend on the clock.
    folder:  of the training: `runs/NAME.partial` where it was killed, or that of a run with status `interrupted`.
    data, network: needed where the training was given arrays or a module in Python. The module gets its weights back.
    threads: as many as before by default.
    anyway:  continue although this machine, build or thread count differs. The result is then not exact, and the run
             says so. Other data, another recipe and another label patch are always refused.
    The rest is as `train` takes it.
    Raises RunError: there is nothing to resume, or something has changed; says what.
    """
    started = time.perf_counter()
    partial = reopen(Path(folder))
    with run_folder.writing(partial) as writing:
        files.remove_partial_files(partial)
        start = read_start(partial)
        with _computing(threads or start.environment.threads):
            begun = time.perf_counter()
            job = reopen_job(partial, start, data, network)
            state = resumed_state(partial, start, job, anyway)
            display = _display(progress)
            run = _carry_out(job, state, partial, (started, begun), callbacks, display)
    return _finish(run, writing.path, keep_checkpoints, display)


def _carry_out(
    job: Job,
    state: TrainState,
    folder: Path,
    since: tuple[float, float],
    callbacks: Sequence[Callback],
    progress: Progress,
) -> Run:
    """Train from where the state stands, evaluate, and write the run into its folder.

    since: when all of it started, and when the training's own set-up began, after the data was in memory.
    """
    started, begun = since
    progress.started(
        job.data, job.recipe, summarise(job.network, job.data.image_shape), len(job.splits.train), len(job.splits.val),
        job.splits.validation,
    )  # fmt: skip
    first, backend = state.member, job.backend(state.member, state.seed)
    write_start(folder, job, backend.capabilities)
    train, val = job.examples()
    state.clock.fit_seconds += time.perf_counter() - begun
    with _interruptible() as asked:

        def backend_of(member: int, seed: int) -> Backend:
            return backend if member == first else job.backend(member, seed)

        events = fit_members(backend_of, job.recipe, train, val, state)
        checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS, job.weight_bytes)
        own = [*recipe_callbacks(job.recipe), *callbacks, StopWhen(asked.is_set)]
        drive(events, state, [*own, checkpoints, progress])
        network = load_members(job.network, state.final_weights())
        return write_run(folder, job, network, state, backend.capabilities, started)


def _finish(run: Run, folder: Path, keep_checkpoints: bool, progress: Progress) -> Run:
    """The run in its final folder, without the checkpoints that nobody needs any more."""
    run.folder = folder
    if run.record.status == "complete" and not keep_checkpoints:
        shutil.rmtree(folder / run_folder.CHECKPOINTS, ignore_errors=True)
    progress.finished(run)
    return run


def _display(progress: Progress | bool) -> Progress:
    return pick_progress(quiet=not progress) if isinstance(progress, bool) else progress


@contextmanager
def _computing(threads: int | None) -> Iterator[None]:
    """torch computes with this many threads inside, and its global generator is given back as it was."""
    with using_threads(threads), torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that the training ends between two steps and the run is still written.

    The third time it raises KeyboardInterrupt.
    """
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
