"""Limits of what the server does at the same time: predictions in threads, and bytes of bodies in memory."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request

from misread.http.bodies import CLOSE

MAX_THREADS = 4
ANSWER_SECONDS = 30.0
RETRY_SECONDS = 1
MAX_BYTES = 64 * 2**20  # of all bodies together

T = TypeVar("T")


class Work:
    """Runs predictions in threads, so that the server answers other requests meanwhile.

    limit: predictions that run or wait. Further ones are refused with 503.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.pending, self.bytes = limit, 0, 0
        self._threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1), "predict")

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Raises HTTPException 503: too many predictions, or this one took too long."""
        self.check()
        loop = asyncio.get_running_loop()
        job = self._threads.submit(function, *arguments)
        self.pending += 1

        def ended(_: "Future[T]") -> None:  # also of a job that nobody waits for any more
            loop.call_soon_threadsafe(self._end)

        job.add_done_callback(ended)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            raise busy(f"The prediction took longer than {ANSWER_SECONDS:.0f} s.") from None

    def check(self) -> None:
        """Raises HTTPException 503: no further prediction is accepted now."""
        if self.pending >= self.limit:
            raise busy(f"{self.limit} predictions run or wait already.")

    def _end(self) -> None:
        self.pending -= 1

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request. It counts as memory in use until the context is left.

        Raises HTTPException 503: the bodies of all requests together are too large.
        """
        self.check()
        parts: list[bytes] = []
        taken = 0
        try:
            async for part in request.stream():
                taken, self.bytes = taken + len(part), self.bytes + len(part)
                if self.bytes > MAX_BYTES:
                    raise busy("The bodies of all requests together are too large.")
                parts.append(part)
            yield b"".join(parts)
        finally:
            self.bytes -= taken

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def busy(reason: str) -> HTTPException:
    return HTTPException(503, f"{reason} Try again later.", {"retry-after": str(RETRY_SECONDS), **CLOSE})
