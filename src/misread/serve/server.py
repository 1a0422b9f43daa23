"""Starting the server, and its end by a signal."""

import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from misread.errors import RunError
from misread.http.hosts import is_loopback
from misread.http.sockets import listen, reachable
from misread.serve.guard import Access
from misread.serve.model import MAX_NAME, Model

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

PORT = 8000
END_SECONDS = 30  # for requests that are being answered when the server is told to end
MIN_TOKEN = 16


def check_access(host: str, token: str | None) -> Access:
    """Raises RunError: other machines could reach the server without a token, or the token is too short."""
    if token is None and not is_loopback(host):
        raise RunError(
            f"Every machine that can reach {host} could ask this server. Give it a token of at least {MIN_TOKEN} "
            "characters, with --token or in MISREAD_TOKEN. To make one: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise RunError(f"The token must have at least {MIN_TOKEN} characters, all ASCII and without spaces.")
    return Access(host, token)


def check_name(name: str) -> None:
    """Raises RunError: a name that cannot stand in an address."""
    if not name or len(name) > MAX_NAME or "/" in name or not name.isprintable():
        raise RunError(
            f"The model's name {name[:MAX_NAME]!r} cannot stand in an address. Choose another with --name: "
            f"at most {MAX_NAME} printable characters, without /."
        )


def serve(
    model: Model,
    access: Access,
    *,
    port: int = PORT,
    concurrency: int,
    log: bool = True,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve predictions until SIGINT or SIGTERM; requests that are being answered then get their answers.

    port: 0 takes any free one. concurrency, log: see `make_app`. ready: called with the address when it is open.
    Raises RunError: the port or the concurrency cannot be used.
    """
    import uvicorn

    from misread.serve.app import make_app

    if concurrency < 1:
        raise RunError(f"The concurrency is {concurrency}, but must be at least 1.")
    check_name(model.name)
    with listen(access.host, port, "The server") as listening:
        config = uvicorn_config(make_app(model, access, concurrency=concurrency, log=log))
        model.warm_up()
        ready(f"http://{reachable(access.host)}:{listening.getsockname()[1]}")
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again after a clean end; that end is none by a signal
            signal.signal(signal.SIGTERM, lambda *_: None)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def uvicorn_config(app: "Starlette") -> "uvicorn.Config":
    """How uvicorn runs the application: with the limits of `connections`, and no logs of its own."""
    import uvicorn

    from misread.serve.connections import IDLE_SECONDS, MAX_HEADER_BYTES, Connection

    return uvicorn.Config(
        app, http=Connection, ws="none", log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS, timeout_graceful_shutdown=END_SECONDS,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )  # fmt: skip
