"""`misread report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from misread.cli import options
from misread.cli.keras import check_run_options, is_keras, keras_predictions
from misread.cli.output import check_language, check_page_name, print_json, print_lines, warn
from misread.cli.runs import find_run
from misread.errors import DataError, MisreadError, RunError

if TYPE_CHECKING:
    from misread.runs.predictions import Predictions
    from misread.runs.run import Run

ARRAYS = ("labels", "probs", "images", "class_names")


def report(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN",
            help="A run folder, 'last', a Keras model (.keras, .h5), or the --out of predicted shards.",
            show_default=False,
        ),
    ] = None,
    data: options.ModelData = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; RUN/report.html by default.", show_default=False)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="RUN_B", help="Also compare this run with RUN.", show_default=False),
    ] = None,
    other: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run on the same data, as evidence for causes; may be repeated.",
                     show_default=False),
    ] = None,
    causes: Annotated[bool, typer.Option(help="Find the cause of each mistake; needs the training images.")] = True,
    playground: Annotated[
        bool, typer.Option("--playground", help="Add rooms to draw in and to look inside the network.")
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Instead of RUN: labels of any model's test images (.npy or .npz).", show_default=False),
    ] = None,
    probs: Annotated[
        Path | None, typer.Option(help="With --labels: its probabilities, a row for each image.", show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --labels: the images, for the page's pictures.", show_default=False)
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(help="With --labels: the classes' names, a line each (.txt), or an array.", show_default=False),
    ] = None,
    scaling: options.Scaling = None,
    lang: Annotated[str, typer.Option(help="Language of the page: en or ko.")] = "en",
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Write one offline HTML file about a run or predicted shards.

    It has the numbers, every misread image with its cause, and doubtful labels.
    """
    given = dict(zip(ARRAYS, (labels, probs, images, class_names), strict=True))
    check_page_name(out)
    check_language(lang)
    if run is not None and any(given.values()):
        named = ", ".join(f"--{name.replace('_', '-')}" for name, file in given.items() if file)
        raise RunError(f"A run has its own predictions: give RUN, or {named} without it.")
    if run is None:
        if out is None:
            raise RunError("Name a run; or give --labels, --probs and, for where to write, --out.")
        if playground:
            raise RunError("--playground needs a run's network, and so needs RUN.")
        if compare or other:
            raise RunError("--compare and --other are about runs, and so need RUN.")
        predictions: Predictions = _read(given)
        path = predictions.report(out, language=lang)
    elif is_job(run):
        if data or scaling or compare or other or playground:
            raise RunError(f"{run} has predicted shards: only --out, --lang, --quiet and --json go with them.")
        _report_job(run, out, lang, quiet, json)
        return
    elif is_keras(run):
        if compare or other or playground:
            raise RunError("--compare, --other and --playground need a run; this is a Keras model.")
        predictions = keras_predictions(run, data, "test", scaling)
        path = predictions.report(out or run.with_name(f"{run.stem}-report.html"), language=lang)
    else:
        check_run_options(data, scaling)
        path, predictions = _of_run(run, out, compare, other or [], causes, playground, lang, quiet)
    _print_result(path, json, misread=int(predictions.misread.sum()), n=len(predictions))


def is_job(folder: Path) -> bool:
    """Whether a folder is the --out of predicted shards."""
    return (folder / "job.json").is_file()


def _report_job(folder: Path, out: Path | None, lang: str, quiet: bool, json: bool) -> None:
    from misread.scale.job_report import write_job_report

    show = (lambda line: None) if quiet else warn
    made = write_job_report(folder, options.processes(), out, language=lang, progress=show)
    labelled, right = int(made.stats.confusion.sum()), int(made.stats.confusion.trace())
    _print_result(
        made.path,
        json,
        misread=labelled - right,
        n=labelled,
        images=made.stats.images,
        errors=made.stats.unread,
        failed_shards=len(made.failed),
        missing_shards=made.missing,
    )


def _of_run(
    run: Path, out: Path | None, compare: Path | None, others: list[Path], causes: bool, playground: bool, lang: str,
    quiet: bool,
) -> tuple[Path, "Predictions"]:  # fmt: skip
    """Write the report of a run and, if it goes into the run folder, the figures beside it."""
    from misread.runs.run import open_run

    if not causes and others:
        raise RunError("--no-causes leaves nothing for --other to work on; drop one of them.")
    opened = open_run(find_run(run))
    path = opened.report(
        out,
        compare=open_run(find_run(compare)) if compare else None,
        others=[open_run(find_run(path)) for path in others],
        causes=causes,
        playground=playground,
        language=lang,
        progress=None if quiet else warn,
    )
    if out is None:
        _save_figures(opened, quiet)
    return path, opened.predictions()


def _save_figures(run: "Run", quiet: bool) -> None:
    """Write the figures beside the report; if the images are no longer available, warn instead."""
    try:
        folder = run.save_figures()
    except MisreadError as error:
        warn(f"Without figures: {error}")
        return
    if not quiet:
        warn(f"Figures: {folder}")


def _print_result(path: Path, json: bool, **numbers: int) -> None:
    """The report's path and size, as text or as JSON."""
    size = path.stat().st_size
    if json:
        print_json({"path": str(path), "size_bytes": size, **numbers})
    else:
        print_lines(f"{path} ({size / 1e6:.2f} MB)")


def _read(given: dict[str, Path | None]) -> "Predictions":
    from misread.runs.predictions import Predictions

    if given["labels"] is None or given["probs"] is None:
        raise RunError("Name a run, or give both --labels and --probs.")
    arrays = {name: None if path is None else _array(path, name) for name, path in given.items()}
    return Predictions(
        arrays["labels"], arrays["probs"], arrays["class_names"], images=arrays["images"], name=given["probs"].stem
    )


def _array(path: Path, name: str) -> Any:
    """The array in a file; in an `.npz` with several, the array of this name. Raises DataError: there is none."""
    from misread.data.npy import read_npy
    from misread.data.npz import read_npz

    if name == "class_names" and path.suffix.lower() not in (".npy", ".npz"):
        try:
            return path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if path.suffix.lower() != ".npz":
        return read_npy(path)
    arrays = read_npz(path)
    if name in arrays or len(arrays) == 1:
        return arrays.get(name, next(iter(arrays.values())))
    raise DataError(
        f"{path} has the arrays {', '.join(arrays) or '(none)'}. Name one of them {name}, or store only one."
    )
