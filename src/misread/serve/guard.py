"""Who may ask for predictions; limits of bodies; headers of answers; metrics and logs of every request."""

import time
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from misread.http.bodies import CLOSE, limited, stated_length
from misread.http.headers import add_headers
from misread.http.hosts import host_name, is_loopback, same_token
from misread.serve.logs import LOGGER
from misread.serve.metrics import Metrics

MAX_BODY_BYTES = 8 * 2**20
BODY_SECONDS = 10.0
OPEN = ("/v2/health/live", "/v2/health/ready", "/", "/openapi.json", "/page.css")  # say nothing about the model
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}
NO_TOKEN = "This server needs its token, in the header `Authorization: Bearer TOKEN`."


@dataclass(frozen=True)
class Access:
    """Who may talk to the server.

    host: the address that it listens on. token: known to its users; None: everybody who can reach it is one.
    """

    host: str
    token: str | None = None

    def refusal(self, scope: Scope) -> HTTPException | None:
        """Why a request is refused, or None. Its body is not looked at."""
        headers = Headers(scope=scope)
        if self.token is not None:
            kind, _, given = headers.get("authorization", "").partition(" ")
            known = kind.lower() == "bearer" and same_token(given.strip(), self.token)
            if not known and scope["path"] not in OPEN:
                return HTTPException(401, NO_TOKEN, {"www-authenticate": "Bearer"})
        elif refusal := self._from_a_page(scope, headers):
            return refusal
        return stated_length(headers.get("content-length", "0"), MAX_BODY_BYTES)

    def _from_a_page(self, scope: Scope, headers: Headers) -> HTTPException | None:
        """Without a token, pages of other sites in a browser on this machine could ask, or a rebound domain name."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or (is_loopback(self.host) and not is_loopback(host_name(hosts[0]))):
            return HTTPException(421, "The Host header does not name this machine. Use 127.0.0.1 or localhost.")
        if headers.get("origin", own := f"{scope['scheme']}://{hosts[0]}") != own:
            return HTTPException(403, "The request comes from a page of another site. A token would allow it.")
        return None


class Guard:
    """Refuses requests by `Access`, limits bodies, and measures and logs every request.

    log: whether to log requests; those about health and metrics are not logged.
    """

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics, log: bool) -> None:
        self.app, self.access, self.metrics, self.log = app, access, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                add_headers(message, HEADERS)
            await send(message)

        self.metrics.in_progress += 1
        try:
            refusal = self.access.refusal(scope)
            if refusal is None:
                await self.app(scope, limited(receive, MAX_BODY_BYTES, BODY_SECONDS), send_with_headers)
            else:
                headers = {**CLOSE, **(refusal.headers or {})}
                answer = JSONResponse({"error": refusal.detail}, refusal.status_code, headers)
                await answer(scope, receive, send_with_headers)
        finally:
            self.metrics.in_progress -= 1
            self._answered(scope, status, time.perf_counter() - started)

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint = scope.get("endpoint")
        route = getattr(endpoint, "__name__", "none")
        self.metrics.answered(route, status, seconds)
        if self.log and route not in ("live", "ready", "metrics"):
            values = {"method": scope["method"], "path": scope["path"][:200], "status": status}
            values |= {"seconds": round(seconds, 6), **scope.get("state", {}).get("log", {})}
            LOGGER.info("request", extra={"values": values})
