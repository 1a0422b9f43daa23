"""Who may talk to the studio, and what its answers allow a browser to do.

Other pages in the same browser can send requests to this machine, and other users of the machine can too. Therefore
every request needs the token, a Host header that cannot belong to a rebound domain name, and, if it changes anything,
an Origin of this server and a JSON body.
"""

import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from misread.http.bodies import CLOSE, limited, stated_length
from misread.http.headers import add_headers
from misread.http.hosts import host_name, is_loopback, is_number, same_token

MAX_BODY_BYTES = 4 * 2**20  # the largest is one picture as base64
BODY_SECONDS = 20.0
READING = ("GET", "HEAD")
POLICY = (  # wasm-unsafe-eval: the network's convolutions are compiled in the page; no text becomes a script by it
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; worker-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
NO_TOKEN = "This studio needs its token. Open the address that `misread studio` printed in the terminal."


@dataclass(frozen=True)
class Access:
    """Who may talk to the server.

    token: known to the user only. port: of the server. host: the address that it listens on.
    """

    token: str
    host: str
    port: int

    @property
    def cookie(self) -> str:
        """The name of the cookie with the token. Ports of one host share their cookies, so it has the port."""
        return f"misread-studio-{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        return is_loopback(self.host)

    def knows(self, token: str) -> bool:
        """Whether a token is right, in a time that does not depend on how much of it is."""
        return same_token(token, self.token)

    def refusal(self, scope: Scope) -> HTTPException | None:
        """Why a request is refused, or None. Its body is not looked at."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own_name(host_name(hosts[0])):
            return HTTPException(421, "The Host header does not name this studio. Open the address that it printed.")
        if not self._has_token(scope, headers):
            return HTTPException(401, NO_TOKEN)
        if scope["method"] in READING:
            return None
        if headers.get("origin") != f"{scope['scheme']}://{hosts[0]}":
            return HTTPException(403, "The request comes from another site.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return HTTPException(415, "The body must be JSON.")
        return stated_length(headers.get("content-length", "0"), MAX_BODY_BYTES)

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        return self.knows(_cookies(headers).get(self.cookie, "")) or self.is_entrance(scope)

    def is_entrance(self, scope: Scope) -> bool:
        """Whether this is the address that was printed: the first page, with the token."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["path"] == "/" and scope["method"] in READING and self.knows(given)

    def _is_own_name(self, name: str) -> bool:
        """A domain name can be made to lead to this machine by whoever owns it. A number or `localhost` cannot."""
        if self.is_local:
            return is_loopback(name)
        return name in ("localhost", self.host.lower(), socket.gethostname().lower()) or is_number(name)


class Guard:
    """Refuses requests by `Access`, limits bodies in bytes and seconds, and adds the security headers to answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(message, HEADERS)
                if self.access.is_entrance(scope):
                    # no redirect: after a click on a link elsewhere, a strict cookie would not be sent with it
                    cookie = f"{self.access.cookie}={self.access.token}; {COOKIE}"
                    MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        refusal = self.access.refusal(scope)
        if refusal is not None:
            await _answer(scope, refusal)(scope, receive, send_with_headers)
            return
        await self.app(scope, limited(receive, MAX_BODY_BYTES, BODY_SECONDS), send_with_headers)


COOKIE = "Path=/; HttpOnly; SameSite=Strict"


def _answer(scope: Scope, refusal: HTTPException) -> Response:
    if scope["path"].startswith("/api/"):
        return JSONResponse({"error": refusal.detail}, refusal.status_code, CLOSE)
    return PlainTextResponse(refusal.detail, refusal.status_code, CLOSE)


def _cookies(headers: Headers) -> dict[str, str]:
    cookies: SimpleCookie = SimpleCookie()
    for line in headers.getlist("cookie"):
        try:
            cookies.load(line)
        except CookieError:
            continue
    return {name: morsel.value for name, morsel in cookies.items()}
