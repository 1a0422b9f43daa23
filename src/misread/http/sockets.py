"""A listening socket, with messages for why there is none."""

import errno
import os
import socket

from misread.errors import RunError


class PortInUse(RunError):
    """Another program listens on this port."""


def listen(host: str, port: int, server: str) -> socket.socket:
    """A listening socket. port: 0 takes any free one. server: what listens, for messages, as in "The studio".

    Raises PortInUse: the port is taken. Raises RunError: it is no port, or there is no such address on this machine.
    """
    if not 0 <= port <= 65535:
        raise RunError(f"{port} is not a port. Ports are 0 to 65535; 0 takes any free one.")
    try:
        return _listening(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} of {host} is in use, perhaps by another misread. Choose another with --port."
            ) from None
        raise RunError(f"{server} cannot listen on {host}, port {port}: {error.strerror}.") from None


def _listening(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # without the protocol's number, asyncio leaves Nagle's algorithm on, and small answers wait 40 ms
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # on Windows it would share a port in use
        found.bind(address)
        found.listen(128)
    except BaseException:
        found.close()
        raise
    return found


def reachable(host: str) -> str:
    """The host part of an address that leads to the server from this machine."""
    written = f"[{host}]" if ":" in host else host
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(written, written)
