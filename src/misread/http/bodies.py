"""Limits of the bodies of requests, in bytes and in seconds."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

CLOSE = {"connection": "close"}  # the rest of a refused body is not read


def limited(receive: Receive, max_bytes: int, seconds: float) -> Receive:
    """`receive` that raises HTTPException if the body is larger than `max_bytes` or takes longer than `seconds`."""
    received, complete = 0, False
    deadline = asyncio.get_running_loop().time() + seconds

    async def receive_part() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()  # waits for the client to leave
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"The body did not arrive within {seconds:.0f} s.", CLOSE) from None
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise too_large(max_bytes)
        complete = not message.get("more_body", False)
        return message

    return receive_part


def stated_length(content_length: str, max_bytes: int) -> HTTPException | None:
    """Why a Content-Length header is refused, or None."""
    if content_length.isdecimal() and len(content_length) < 20 and int(content_length) <= max_bytes:
        return None
    return too_large(max_bytes)


def too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"The body is larger than {max_bytes / 2**20:.0f} MiB.", CLOSE)
