"""Options that several commands share, and the parsing of their values."""

import os
from pathlib import Path
from typing import Annotated

import typer

from misread.errors import DataError, RunError
from misread.ray_cluster import RayCluster
from misread.workers import warm_up


def begin_workers(workers: int | None) -> int | None:
    """Several processes begin to import what a training needs while this one does, too."""
    if workers is not None and workers > 1:
        warm_up("misread.runs.train")
    return workers


def processes(workers: int | None = None) -> int:
    """The number of local processes; by default one for each core. Raises RunError: fewer than one."""
    from misread.data.decode import usable_cores

    if workers is not None and workers < 1:
        raise RunError(f"{workers} workers are not possible. Use 1 or more.")
    return usable_cores() if workers is None else workers


def quiet_ray(address: str) -> RayCluster:
    """The Ray cluster at this address. Raises RunError: Ray is not installed."""
    # Ray reports a dead process on standard output, where our results go; it reads this when it is imported
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    return RayCluster(address)


def trainers(workers: int | None, ray: RayCluster | None) -> int | RayCluster:
    """Who trains, by --workers and --ray. Raises RunError: both are given."""
    if ray is None:
        return 1 if workers is None else workers
    if workers not in (None, 1):
        raise RunError("--ray trains as many networks at a time as the cluster has room for. Leave out --workers.")
    return ray


Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A name (mnist, fashion-mnist, kmnist, digits) or a path.", show_default=False),
]
RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, 'last', or hf://USER/NAME.", show_default=False)
]
Model = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help="A run folder, 'last', hf://USER/NAME, or a Keras model (.keras, .h5).", show_default=False
    ),
]
ModelData = Annotated[
    str | None, typer.Argument(metavar="DATA", help="With a Keras model: its data.", show_default=False)
]
Scaling = Annotated[
    str | None,
    typer.Option(
        help="With a Keras model: raw, unit, symmetric or standardised; by default what fits training images best.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, and everything else to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Threads = Annotated[
    int | None, typer.Option(help="Number of threads; by default the number of cores.", show_default=False)
]
Workers = Annotated[
    int,
    typer.Option(callback=begin_workers, help="Processes that train at the same time; --threads is for each of them."),
]
Ray = Annotated[
    RayCluster | None,
    typer.Option(
        parser=quiet_ray,
        metavar="ADDRESS",
        help="Train on this Ray cluster, or 'auto' or 'local', with --threads cores for each training (1).",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="The folder for run folders.")]
Size = Annotated[
    str | None,
    typer.Option(help="Resize pictures from folders, to 28 or 28x32 (HxW).", show_default=False),
]
Strict = Annotated[bool, typer.Option("--strict", help="Report unreadable files as an error instead of skipping them.")]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="The name of a recipe, or a TOML file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, for example optimizer.learning_rate=0.01.",
                 show_default=False),
]  # fmt: skip
Labels = Annotated[
    Path | None,
    typer.Option(metavar="PATCH", help="Apply this label patch; see misread labels.", show_default=False),
]
Split = Annotated[str, typer.Option(help="train, val or test.")]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) from `28` or `28x32`. Raises DataError: another form."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(p.strip().isdecimal() and int(p) > 0 for p in parts):
        raise DataError(f"The size {text!r} is invalid. Use the form 28 or 28x32 (height x width).")
    return int(parts[0]), int(parts[-1])
