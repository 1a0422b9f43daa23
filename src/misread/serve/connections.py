"""Connections with limits: of their number, and of the time that a client takes for headers and for reading answers."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
MAX_HEADER_BYTES = 2**14
HEADER_SECONDS = 10.0
READ_SECONDS = 30.0
IDLE_SECONDS = 15  # between two requests


class Connection(H11Protocol):
    """uvicorn limits the time between two requests only; a client that sends headers slowly would stay for ever."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse("503 Service Unavailable", "There are too many connections.", "retry-after: 1\r\n")
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._deadline is None and not self.transport.is_closing():
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_waiting()
        self._deadline = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def _wait_for_headers(self) -> None:
        self._deadline = self.loop.call_later(
            HEADER_SECONDS, self._refuse, "408 Request Timeout", "The headers did not arrive in time."
        )

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: str, message: str, headers: str = "") -> None:
        body = f'{{"error": "{message}"}}'
        self.transport.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"{headers}connection: close\r\n\r\n{body}".encode("ascii")
        )
        self.transport.close()
