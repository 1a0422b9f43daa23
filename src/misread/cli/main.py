"""The `misread` command: its verbs, and its handling of errors."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from misread.cli import (
    card,
    compare,
    data,
    demo,
    doctor,
    eject,
    evaluate,
    export,
    labels,
    lr,
    misreads,
    predict,
    push,
    recipes,
    report,
    reproduce,
    runs,
    serve,
    studio,
    summary,
    sweep,
    train,
    verify,
)  # fmt: skip
from misread.errors import MisreadError
from misread.version import __version__

app = typer.Typer(
    name="misread",
    help="Train a small-image classifier in seconds and see every image that it misread.",
    epilog="To begin: misread demo, then misread studio. Each command has --help.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich's takes as long to import as all the rest
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"misread {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Train a small-image classifier in seconds and see every image that it misread."""


app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("misreads")(misreads.misreads)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.add_typer(labels.app, name="labels")
app.command("sweep")(sweep.sweep)
app.command("lr")(lr.lr)
app.command("export")(export.export)
app.command("card")(card.card)
app.command("push")(push.push)
app.command("eject")(eject.eject)
app.command("reproduce")(reproduce.reproduce)
app.command("runs")(runs.runs)
app.command("verify")(verify.verify)
app.command("serve")(serve.serve)
app.command("studio")(studio.studio)
app.command("summary")(summary.summary)
app.command("recipes")(recipes.recipes)
app.add_typer(data.app, name="data")
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for a failure, 2 for an error that the user can fix."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # --debug counts at any place: people append it to a command that has just failed
    debug = "--debug" in given
    if debug:
        given = ["--debug", *(a for a in given if a != "--debug")]
    with _output_to_the_end(debug):
        try:
            app(args=given, prog_name="misread")
        except MisreadError as error:
            if debug:
                raise
            sys.stderr.write(f"Error: {error}\n")
            sys.exit(error.exit_code)


@contextmanager
def _output_to_the_end(debug: bool) -> Iterator[None]:
    """Write all output of the block while a failure can still be said. Exits with 1 if nobody takes it."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EPIPE):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        if error.errno == errno.ENOSPC:  # the other: a reader that wants no more, as in `misread runs | head`
            what = error.filename or "The output"
            sys.stderr.write(f"Error: {what} cannot be written: {error.strerror}. Free some space.\n")
        sys.exit(1)
