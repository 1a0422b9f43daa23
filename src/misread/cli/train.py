"""`misread train`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.load_data import load_data
from misread.cli.output import console, print_json, print_lines, print_table, warn
from misread.cli.runs import find_unfinished_run
from misread.cli.torchrun import follows, joins_ranks
from misread.errors import DataError, RecipeError, RunError

if TYPE_CHECKING:
    from misread.runs.progress import Progress
    from misread.runs.run import Run
    from misread.runs.seeds import SeedRuns
    from misread.training.callbacks import Callback
    from misread.workers import Cluster


@joins_ranks
def train(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="A name (mnist, fashion-mnist, kmnist, digits) or a path.", show_default=False
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            "-r",
            show_default=False,
            help="A recipe's name, a TOML file, or auto: chosen by the images. "
            "[default: tutorial-mlp for a named data set, else auto; with a backbone head]",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A pretrained network whose features are classified: timm:NAME, timm:NAME=FILE, or a .pt2 file.",
            show_default=False,
        ),
    ] = None,
    fine_tune: Annotated[bool, typer.Option("--fine-tune", help="Also train the backbone.")] = False,
    out: options.Out = Path("runs"),
    seed: Annotated[
        int | None, typer.Option(help="Seed of weights, order, augmentation and dropout.", show_default=False)
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.", show_default=False)] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Train for this many seconds, instead of epochs.", show_default=False)
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(help="Stop at this validation accuracy, for example 0.99.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Train this many times, each with its own seed.", show_default=False)
    ] = None,
    set: options.Set = None,
    labels: options.Labels = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Continue an interrupted training: its folder, or 'last'. Data, recipe and settings stay the same.",
            show_default=False,
        ),
    ] = None,
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Resume even if the machine differs. The result is then not exact."),
    ] = False,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep the last two checkpoints of a complete run.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="Also write to mlflow or tensorboard.", show_default=False),
    ] = None,
    size: options.Size = None,
    strict: options.Strict = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(
            callback=options.begin_workers,
            help="Processes that train members, or the trainings of --seeds, at the same time; --threads is for each "
            "of them. With --resume by default as before.",
            show_default=False,
        ),
    ] = None,
    ray: options.Ray = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network on DATA and write a run folder. Or continue a training with --resume."""
    from misread.runs.progress import pick_progress

    quiet = quiet or follows()
    progress = pick_progress(quiet=quiet, console=console(json))
    does = options.trainers(workers, ray)
    if resume is not None:
        begins = {"DATA": data, "--recipe": recipe, "--backbone": backbone, "--fine-tune": fine_tune or None,
                  "--seed": seed, "--epochs": epochs, "--seconds": seconds, "--target": target, "--seeds": seeds,
                  "--set": set, "--labels": labels, "--size": size}  # fmt: skip
        _refuse_with_resume([name for name, value in begins.items() if value is not None])
        as_before = workers is None and ray is None
        with _saying_what_is_kept():
            resumed = _resumed(resume, threads, None if as_before else does, anyway, keep_checkpoints, track, progress)
        if resumed:
            _print_run(resumed, quiet, json)
        return
    if data is None:
        raise DataError(
            "DATA is missing. Add it, for example misread train mnist; or continue a training with --resume RUN."
        )
    from misread.data.label_patch import read_patch
    from misread.runs.seeds import train_seeds
    from misread.runs.train import train as train_run
    from misread.training.auto_recipe import named_recipe
    from misread.training.ranks import current_ranks
    from misread.training.recipe import backbone_settings, parse_settings

    if seeds is not None and current_ranks() is not None:
        raise RecipeError("--seeds is for one process. Leave it out under torchrun, or train without torchrun.")
    settings = parse_settings(set or [], seed=seed, epochs=epochs, seconds=seconds, target_accuracy=target)
    settings |= backbone_settings(backbone, fine_tune)
    named: Any = named_recipe(recipe, settings)  # reports a bad recipe before the data is loaded
    images = load_data(data, quiet, size, strict)
    if follows():
        from misread.runs.together import follow

        follow(images, named, settings=settings, label_patch=labels, device=device, threads=threads)
        return
    if labels and quiet:  # the result, which says so too, is not shown
        warn(*read_patch(labels).cut_off)
    common: dict[str, Any] = {
        "recipe": named, "settings": settings, "label_patch": labels, "out": out, "device": device,
        "threads": threads, "workers": does, "callbacks": _trackers(track),
        "progress": progress,
    }  # fmt: skip
    if seeds is not None:
        with _saying_what_is_kept():
            seed_runs = train_seeds(images, seeds=seeds, **common)
        _print_seeds(seed_runs, quiet, json)
        sys.exit(1 if seed_runs.interrupted else 0)
    with _saying_what_is_kept():
        run = train_run(images, keep_checkpoints=keep_checkpoints, **common)
    _print_run(run, quiet, json)


@contextmanager
def _saying_what_is_kept() -> Iterator[None]:
    """One worker writes a run after Ctrl-C. Several end at once, and leave their checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        warn(
            "Interrupted. Trainings that have checkpoints can be continued: misread runs lists them, and "
            "misread train --resume RUN goes on."
        )
        raise


def _refuse_with_resume(arguments: list[str]) -> None:
    if arguments:
        raise RunError(
            f"A resumed training uses its original data, recipe and settings. Leave out {', '.join(arguments)}, or "
            "start a new training without --resume."
        )


def _trackers(names: list[str] | None) -> "list[Callback]":
    if not names:
        return []
    from misread.lab.trackers import make_tracker

    return [make_tracker(name) for name in names]


def _resumed(
    run: Path,
    threads: int | None,
    workers: "int | Cluster | None",
    anyway: bool,
    keep_checkpoints: bool,
    track: list[str] | None,
    progress: "Progress",
) -> "Run | None":
    """The finished run; None on a rank that only computes."""
    folder = find_unfinished_run(run)
    if follows():
        from misread.runs.together import follow_resumed

        follow_resumed(folder, threads, anyway)
        return None
    from misread.runs.train import resume

    return resume(
        folder,
        threads=threads,
        workers=workers,
        anyway=anyway,
        keep_checkpoints=keep_checkpoints,
        callbacks=_trackers(track),
        progress=progress,
    )


def _print_run(run: "Run", quiet: bool, json: bool) -> None:
    if json:
        print_json({"folder": str(run.folder), **run.record.model_dump(mode="json")})
    elif quiet:
        print_lines(str(run.folder))
    else:
        print_lines(*(f"Picture: {path}" for path in sorted((run.folder / "figures").iterdir())))
    if run.record.status == "interrupted":
        sys.exit(1)


def _print_seeds(seed_runs: "SeedRuns", quiet: bool, json: bool) -> None:
    if json:
        print_json(seed_runs.to_dict())
        return
    if quiet:
        print_lines(*(str(run.folder) for run in seed_runs.runs))
        return
    print_lines("")
    print_table(
        ("seed", "test accuracy", "misread", "fit seconds", "status", "run"),
        [
            (r.record.seed, f"{r.metrics['test']['accuracy']:.2%}", f"{r.metrics['test']['misread']:,}",
             f"{r.record.timing.fit_seconds:.2f}", r.record.status, r.folder)
            for r in seed_runs.runs
        ],
        right=(0, 1, 2, 3),
    )  # fmt: skip
    print_lines("", str(seed_runs))
