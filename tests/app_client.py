"""A client of an ASGI application in the same process: requests one after the other, with cookies."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from starlette.types import ASGIApp


class AppClient:
    """Like httpx.Client, for an application instead of a server. `headers` and `cookies` are sent with each request."""

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self._app, self._base_url = app, base_url
        self.headers: dict[str, str] = {}
        self.cookies = httpx.Cookies()

    def get(self, address: str, **options: Any) -> httpx.Response:
        return self.request("GET", address, **options)

    def post(self, address: str, **options: Any) -> httpx.Response:
        return self.request("POST", address, **options)

    def request(self, method: str, address: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=self._base_url, headers=self.headers, cookies=self.cookies
            ) as client:
                answer = await client.request(method, address, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())


async def in_parts(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body that is sent in parts, without its length."""
    for part in parts:
        yield part
