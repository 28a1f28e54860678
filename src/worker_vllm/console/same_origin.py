"""Admits requests to the console from its own page alone: no other page may read it, none may change anything.

The gateway's access rules allow pages of other ports of this machine, as API clients; the console does not. A request
that changes something must carry the token of the page that this process served; with DNS rebinding the Host header
is wrong, which the gateway refuses before.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.json_bytes import dump

SAFE_METHODS = ("GET", "HEAD")
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class SameOriginOnly:
    """An ASGI application in front of the console's routes."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes behind it, as every application of Starlette shows them."""
        return tuple(getattr(self._app, "routes", ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request of the console's page, refuse any other; errors are `{"error": sentence}`."""
        if scope["type"] != "http":
            raise RuntimeError(f"the console serves http alone, got {scope['type']}")
        try:
            self._check(str(scope["method"]), dict(scope["headers"]))
            await self._app(scope, receive, _with_headers(send))
        except WorkerError as error:
            await _refuse(send, error)

    def _check(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        origin, host = headers.get(b"origin"), headers.get(b"host", b"")
        if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
            raise RequestError(
                "the console answers its own page alone, not pages of other sites or ports", status=403
            )
        if origin is not None and origin.partition(b"://")[2] != host:
            raise RequestError(f"the console answers its own page alone, not {origin.decode('latin-1')}", status=403)
        if method in SAFE_METHODS or (origin is None and b"sec-fetch-site" not in headers):
            return  # no browser sends a request that changes something without an Origin header
        if not hmac.compare_digest(headers.get(b"x-console-token", b""), self._token):
            raise RequestError("this page is of an earlier start of the gateway: reload it", status=403)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await send(message)

    return send_with_headers


async def _refuse(send: Send, error: WorkerError) -> None:
    body = dump({"error": error.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *HEADERS]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
