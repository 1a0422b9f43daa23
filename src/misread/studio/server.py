"""Starting the studio: token, port, browser, and a clean end by Ctrl-C."""

import asyncio
import logging
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from misread.data.download import cache_folder
from misread.http.sockets import PortInUse, listen, reachable
from misread.studio.security import Access

PORT = 8517  # tried first: with one address, a page that is open finds the studio again after a restart
TOKEN_FILE = "studio-token"


def open_socket(host: str, port: int | None) -> socket.socket:
    """A listening socket. port: None for `PORT`, or any free one if that is taken.

    Raises RunError: the port is taken, or there is no such address on this machine.
    """
    try:
        return listen(host, PORT if port is None else port, "The studio")
    except PortInUse:
        if port is not None:
            raise
        return listen(host, 0, "The studio")


def make_access(host: str, port: int) -> Access:
    """Who may talk to a server at this address.

    On this machine only, the token of the last start is used again, from a file that only the user can read: so pages
    that are open work again after a restart. For the network, every start has a new token.
    """
    access = Access(secrets.token_urlsafe(32), host, port)
    if not access.is_local:
        return access
    return Access(_stored_token() or access.token, host, port)


def _stored_token() -> str | None:
    """The token in the user's cache folder, made if there is none; None if the folder cannot be used."""
    path = cache_folder() / TOKEN_FILE
    try:
        if path.is_file() and path.stat().st_mode & 0o077 == 0 and len(text := path.read_text().strip()) >= 43:
            return text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        token = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        return token
    except OSError:
        return None


def address_of(access: Access, language: str | None = None) -> str:
    """The address that opens the studio, with the token."""
    return f"http://{reachable(access.host)}:{access.port}/?token={access.token}" + (
        f"&lang={language}" if language else ""
    )


def serve(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    selected: str | None = None,
    data: str | None = None,
    language: str | None = None,
    browser: bool = True,
    ready: Callable[[Access, str], None] = lambda access, address: None,
) -> None:
    """Serve the studio over the runs in a folder until Ctrl-C.

    host, port: where to listen; see `open_socket`. selected, data: see `make_app`. language: of the page, or None for
    that of the browser. browser: whether to open the page in it. ready: called with the address when it can be opened.
    Raises RunError: the port cannot be used.
    """
    import uvicorn

    from misread.studio.app import make_app
    from misread.studio.trash import empty_trash

    logging.getLogger("uvicorn.error").addFilter(_is_no_ended_request)
    with open_socket(host, port) as listening:
        access = make_access(host, listening.getsockname()[1])
        empty_trash(folder)
        app = make_app(folder.resolve(), access, selected=selected, data=data)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, ws="none", timeout_graceful_shutdown=2
        )
        address = address_of(access, language)
        ready(access, address)
        if browser:  # connections wait in the socket until the server answers; some browsers block their caller
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again after it has ended cleanly
            uvicorn.Server(config).run(sockets=[listening])


def _is_no_ended_request(record: logging.LogRecord) -> bool:
    """After Ctrl-C, uvicorn logs an error and a traceback for requests not answered in time: nothing is wrong."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and "graceful shutdown" not in record.msg
