"""`misread studio`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from misread.cli import options
from misread.cli.output import check_language, print_json, print_lines, warn
from misread.cli.runs import find_run
from misread.errors import DataError, RunError

if TYPE_CHECKING:
    from misread.studio.security import Access


def studio(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|DATA",
            help="A run folder, 'last', a folder of runs, or data to train on.",
            show_default=False,
        ),
    ] = None,
    out: options.Out = Path("runs"),
    port: Annotated[
        int | None, typer.Option(help="The port; by default 8517, or a free one.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; other machines can reach 0.0.0.0.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    lang: Annotated[
        str | None, typer.Option(help="en or ko; by default the browser's language.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:
    """Open the studio in the browser: draw, train, look inside. There one also mends labels and reads the lesson."""
    from misread.studio.runs import run_id
    from misread.studio.server import serve

    if lang is not None:
        check_language(lang)
    run, data, folder = None, None, out
    if what is not None:
        if run := _run_folder(what):
            folder = run.parent
        elif _has_runs(Path(what)):
            folder = Path(what)
        else:
            data = _data(what)

    def ready(access: "Access", address: str) -> None:
        if not access.is_local:
            warn(
                f"Warning: every machine that can reach {host} can connect. Whoever has the address below can see your "
                "images, train, change labels and delete runs. The connection is not encrypted.",
            )  # fmt: skip
        if json:
            print_json({"url": address, "runs": str(folder)})
        else:
            print_lines(f"The studio is at {address}", "Stop it with Ctrl-C.")
        sys.stdout.flush()

    serve(
        folder, host=host, port=port, selected=run_id(run) if run else None, data=data, language=lang, browser=browser,
        ready=ready,
    )  # fmt: skip


def _run_folder(what: str) -> Path | None:
    """The run folder that the argument names, or None: it names something else.

    Raises RunError: the run is unfinished, damaged, or on the Hub.
    """
    from misread.runs.hub import hub_address
    from misread.runs.run_folder import RECIPE, RECORD, read_record

    if address := hub_address(Path(what)):
        raise RunError(
            f"The studio writes into the folder of a run, and {address} is read-only. Make its report instead: "
            f"misread report {address} --out report.html"
        )
    found = find_run(Path(what))
    if not any((found / name).is_file() for name in (RECIPE, RECORD)):
        return None
    read_record(found)
    return found.resolve()


def _has_runs(folder: Path) -> bool:
    """Whether it is a folder of runs, complete or unfinished."""
    from misread.runs.run_folder import find_runs, find_unfinished

    return bool(find_runs(folder) or find_unfinished(folder))


def _data(what: str) -> str:
    """The data that the argument names; it is loaded when it is needed. Raises DataError: there is none."""
    from misread.data.drawings import drawn_sets
    from misread.data.load import EMBEDDED
    from misread.data.named import NAMED
    from misread.names import nearest

    names = (*NAMED, EMBEDDED, *drawn_sets())
    if what in names:
        return what
    if not Path(what).expanduser().exists():
        raise DataError(
            f"There is no run and no data {what!r}.{nearest(what, names)}\n"
            f"Give a run folder, 'last', a folder of runs, the path of data, or one of {', '.join(names)}."
        )
    return str(Path(what).expanduser().resolve())
