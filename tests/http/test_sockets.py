"""Listening sockets."""

import asyncio
import socket
from typing import Any

import pytest

from misread.errors import RunError
from misread.http.sockets import PortInUse, listen, reachable


def test_answers_are_sent_without_waiting_for_more() -> None:
    """asyncio switches Nagle's algorithm off for sockets that it knows to be TCP."""

    async def no_delay() -> int:
        found: list[int] = []

        def connected(reader: Any, writer: Any) -> None:
            accepted = writer.get_extra_info("socket")
            found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0, "The test") as listening:
            async with await asyncio.start_server(connected, sock=listening) as server:
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                await reader.read()
                writer.close()
                await writer.wait_closed()
        return found[0]

    assert asyncio.run(no_delay()) != 0


def test_a_socket_that_cannot_listen_says_why() -> None:
    with listen("127.0.0.1", 0, "The test") as first:
        port = first.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"Port {port} of 127\.0\.0\.1 is in use.*--port"):
            listen("127.0.0.1", port, "The test")
    with pytest.raises(RunError, match=r"-1 is not a port\. Ports are 0 to 65535"):
        listen("127.0.0.1", -1, "The test")
    with pytest.raises(RunError, match=r"The test cannot listen on 203\.0\.113\.9, port 0"):
        listen("203.0.113.9", 0, "The test")


def test_an_address_for_this_machine_is_given() -> None:
    for host, shown in [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.1", "10.0.0.1")]:
        assert reachable(host) == shown
