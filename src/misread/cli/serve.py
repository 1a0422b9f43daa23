"""`misread serve`."""

import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from misread.cli import options
from misread.cli.output import print_json, print_lines, warn
from misread.cli.runs import find_run


def serve(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|FILE.onnx", help="A run folder, 'last', or a file by misread export.",
                             show_default=False)
    ],
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's need a token.")]
    = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes any free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="MISREAD_TOKEN", help="Requests must have this token. Other users can see an option, not "
                     "the variable.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The model's name in addresses; by default that of the run or file.",
                                 show_default=False)
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Predictions that run or wait; further requests get 503.")] = 64,
    threads: options.Threads = None,
    log: Annotated[bool, typer.Option("--log/--no-log", help="Log every request to stderr, as JSON.")] = True,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Answer requests for predictions over HTTP. Ctrl-C or SIGTERM ends it."""
    from misread.http.hosts import is_loopback
    from misread.serve.logs import set_up_logs
    from misread.serve.model import open_model
    from misread.serve.server import check_access
    from misread.serve.server import serve as run_server

    access = check_access(host, token)
    opened = open_model(find_run(model), name, threads)
    if not is_loopback(host):
        warn("Warning: the connection is not encrypted. Put a proxy with TLS before the server.")

    def ready(address: str) -> None:
        if json:
            print_json({"url": address, "model": opened.name, "platform": opened.platform})
        else:
            given = "" if token is None else " -H 'Authorization: Bearer TOKEN'"
            print_lines(
                f"Serving {opened.name} at {address}; the addresses are described there. Stop it with Ctrl-C.",
                f"  curl{given} --data-binary @picture.png {address}/predict",
                f"  curl{given} {address}/v2/models/{quote(opened.name)}",
            )
        sys.stdout.flush()

    set_up_logs()
    run_server(opened, access, port=port, concurrency=concurrency, log=log, ready=ready)
