"""`train` trains a network and writes a run. `resume` continues an interrupted training."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from misread import files
from misread.models.summary import summarise
from misread.runs import run_folder
from misread.runs.interruptible import computing, interruptible
from misread.runs.member_workers import check_workers, train_members
from misread.runs.prepare import Job, as_image_set, prepare
from misread.runs.progress import Progress, pick_progress
from misread.runs.resume import find_training, read_start, reopen, reopen_job, resumed_state, write_start
from misread.runs.run import Run
from misread.runs.together import agree, stop_when
from misread.runs.write_run import write_run
from misread.training.auto_recipe import named_recipe
from misread.training.backend import Backend
from misread.training.callbacks import Callback, drive, recipe_callbacks
from misread.training.checkpoints import Checkpoints
from misread.training.fit import fit_members
from misread.training.networks import load_members
from misread.training.ranks import current_ranks
from misread.training.recipe import Recipe, Settings, backbone_settings, parse_settings
from misread.training.session import TrainState
from misread.training.worker_progress import threads_of_each
from misread.workers import Cluster

RUN_SIZE = (
    11  # times the weights: two checkpoints, each with two moments, an average and a best epoch; the final weights
)


def train(
    data: Any,
    recipe: str | Path | Recipe | None = None,
    *,
    backbone: str | None = None,
    fine_tune: bool = False,
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
    workers: int | Cluster = 1,
    callbacks: Sequence[Callback] = (),
    keep_checkpoints: bool = False,
    progress: Progress | bool = True,
) -> Run:
    """Train a network by a recipe and write the run folder.

    data:     an image set; a name or path that `load` takes; `(images, labels)`; or Keras's
              `((x_train, y_train), (x_test, y_test))`. Labels are whole numbers (N,) or one-hot (N, K).
    recipe:   a named recipe, a TOML file, or a Recipe. `auto` chooses one that fits the images. By default it is the
              lesson's `tutorial-mlp` for a named data set, else `auto`; with a backbone `head`, or `fine-tune` if the
              backbone is trained, too.
    backbone: a pretrained network whose features the recipe's layers get: `timm:NAME`, `timm:NAME=FILE` or the path of
              a .pt2 file; `backbone.name` of the recipe. fine_tune: also train it.
    settings: override values of the recipe, for example `{"optimizer.learning_rate": 0.01}`. The arguments `seed`,
              `epochs`, `seconds` and `target` (`target_accuracy`) are settings too.
    network:  any module that maps (B, C, H, W) float32 in [0, 1] to logits (B, K). It is trained in place, instead of
              the recipe's layers. The recipe must then have one member.
    label_patch: a label patch file. Training and validation use its labels. The test scores are computed with the
              original and with the fixed labels.
    out:      the folder for the run folder `<time>-<recipe>`. Until the run is complete, the name ends in `.partial`.
              `resume` continues a killed training from there.
    workers:  processes that train the members of an ensemble at the same time, or a `RayCluster`. `threads` is then the
              number of threads of each, by default an equal share of torch's, on a cluster one. Weights, history and
              predictions are those of one worker with this number of threads, bit for bit. If a process is killed,
              another one continues with its member. A script that uses processes needs `if __name__ == "__main__":`,
              because each imports it.
    callbacks: called during the training; see `misread.Callback`.
    keep_checkpoints: keep the last two checkpoints of a complete run.
    progress: True shows progress in the terminal, the notebook, or as lines of text; False shows nothing.
    Raises DataError, RecipeError, RunError: before training, if an argument cannot be used.
    Raises TrainingError: the loss is no longer finite.
    Ctrl-C ends the training. The run is then written with status `interrupted`, and can be resumed. With several
    workers it raises KeyboardInterrupt; the checkpoints of all members stay, and the training can be resumed.
    """
    started = time.perf_counter()
    threads = threads_of_each(workers, threads)
    overrides = parse_settings(settings, seed=seed, epochs=epochs, seconds=seconds, target_accuracy=target)
    overrides |= backbone_settings(backbone, fine_tune)
    recipe = named_recipe(recipe, overrides)
    images = as_image_set(data, quiet=progress is False)
    with computing(threads):
        begun = time.perf_counter()
        job = prepare(images, recipe, network=network, label_patch=label_patch, settings=overrides, device=device)
        check_workers(job.recipe, workers, callbacks)
        state = TrainState(job.recipe.member_seed(0))
        agree(job, state)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{job.recipe.name}"
        with run_folder.new_run_folder(Path(out), name, RUN_SIZE * job.weight_bytes) as folder:
            display = _display(progress)
            if job.recipe_choice:
                display.chosen(job.recipe, job.recipe_choice)
            run = _carry_out(job, state, folder.path, (started, begun), workers, callbacks, display)
    return _finish(run, folder.path, keep_checkpoints, callbacks, display)


def resume(
    folder: str | Path,
    *,
    data: Any = None,
    network: nn.Module | None = None,
    threads: int | None = None,
    workers: int | Cluster | None = None,
    anyway: bool = False,
    callbacks: Sequence[Callback] = (),
    keep_checkpoints: bool = False,
    progress: Progress | bool = True,
) -> Run:
    """Continue a training that was interrupted or killed, from its last checkpoint.

    The weights, the history (except its seconds) and the predictions are the same, bit for bit, as without the
    interruption. A training by `seconds` is an exception, because its steps depend on the clock.
    folder:  `runs/NAME.partial` if the training was killed, or the folder of a run with status `interrupted`.
    data, network: needed if the training used arrays or a module from Python. The weights are restored into the module.
    threads: the previous number by default. workers: likewise, but one by default if there are callbacks.
    anyway:  continue even if the machine, the build or the thread count differs. The result is then not exact, and
             `run.json` records this. Other data, another recipe or another label patch is always an error.
    The other arguments are those of `train`.
    Raises RunError: there is nothing to resume, or something has changed; the message says what.
    """
    started = time.perf_counter()
    found = find_training(Path(folder))
    start = read_start(found)
    if workers is None:
        workers = 1 if callbacks or current_ranks() else start.environment.workers
    with computing(threads_of_each(workers, threads or start.environment.threads)):
        begun = time.perf_counter()
        job = reopen_job(found, start, data, network)
        check_workers(job.recipe, workers, callbacks)
        state = resumed_state(found, start, job, anyway)
        agree(job, state)
        with run_folder.writing(
            reopen(found)
        ) as writing:  # only now: an interrupted run stays one where that is refused
            files.remove_partial_files(writing.path)
            display = _display(progress)
            run = _carry_out(job, state, writing.path, (started, begun), workers, callbacks, display)
    return _finish(run, writing.path, keep_checkpoints, callbacks, display)


def _carry_out(
    job: Job,
    state: TrainState,
    folder: Path,
    since: tuple[float, float],
    workers: int | Cluster,
    callbacks: Sequence[Callback],
    progress: Progress,
) -> Run:
    """Train from the position of the state, evaluate, and write the run into its folder.

    since: when the call started, and when the set-up of the training began, after the data was loaded.
    """
    started, begun = since
    progress.started(job.data, job.recipe, summarise(job.network, job.data.image_shape), job.splits)
    first, backend = state.member, job.backend(state.member, state.seed)
    count = workers if isinstance(workers, int) else 1  # what a resume without a cluster begins with
    write_start(folder, job, backend.capabilities, count)
    train, val = job.examples(progress.lines)
    state.clock.fit_seconds += time.perf_counter() - begun
    checkpoints = folder / run_folder.CHECKPOINTS
    if workers != 1:
        state, count = train_members(job, state, checkpoints, workers, progress)  # nothing is left for the loop below
    with interruptible() as interrupt:

        def backend_of(member: int, seed: int) -> Backend:
            return backend if member == first else job.backend(member, seed)

        events = fit_members(backend_of, job.recipe, train, val, state)
        all_callbacks = [*recipe_callbacks(job.recipe), *callbacks, stop_when(interrupt.is_set)]
        drive(events, state, [*all_callbacks, Checkpoints(checkpoints, job.weight_bytes), progress])
        network = load_members(job.network, state.final_weights())
        return write_run(folder, job, network, state, backend.capabilities, started, count)


def _finish(run: Run, folder: Path, keep_checkpoints: bool, callbacks: Sequence[Callback], progress: Progress) -> Run:
    """The run in its final folder. Removes the checkpoints of a complete run."""
    run.folder = folder
    if run.record.status == "complete" and not keep_checkpoints:
        shutil.rmtree(folder / run_folder.CHECKPOINTS, ignore_errors=True)
    for callback in callbacks:
        callback.on_run(run)
    progress.finished(run)
    return run


def _display(progress: Progress | bool) -> Progress:
    return pick_progress(quiet=not progress) if isinstance(progress, bool) else progress
