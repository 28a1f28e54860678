"""The gateway as a Starlette application: its routes, and where further ones are mounted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker_vllm.errors import NotFound, RequestError, WorkerError
from worker_vllm.gateway.api.access import Access
from worker_vllm.gateway.api.jobs_api import UNSUPPORTED
from worker_vllm.gateway.api.operation import Operation
from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest
from worker_vllm.gateway.server.response import GatewayResponse, error_answer
from worker_vllm.json_bytes import dump

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

    from worker_vllm.gateway.gateway import Gateway

Describe: TypeAlias = "Callable[[], list[APIRoute]]"  # imports FastAPI when it is called

OPENAI = "openai"
# The console's page and its files hold no data, and a browser loads them before its user can enter the key.
PAGE, PAGE_FILES = "/", "/console/static/"


def build_app(gateway: Gateway, *, mounts: Sequence[BaseRoute] = (), described: Sequence[Describe] = ()) -> Starlette:
    """The application that serves one gateway.

    Further routes go into `mounts`, in the order in which they are to match, after those below `/v2` and `/faults`:
    `Mount("/lb", …)` for load-balancing endpoints, `Mount("/console/api", …)`, and last `Mount("/", …)`, which takes
    every path that nothing before it does. Like every other route they are reached through `AccessControl`: the
    rules for host names, web pages and the key hold for them too, WebSockets included. A handler in a mount that
    raises a `WorkerError` is answered with its status and `{"error": …}`. `described` returns what the description at
    `/openapi.json` says of the mounts.
    """
    routes: list[BaseRoute] = [_route(gateway, operation) for operation in gateway.operations]
    if gateway.faults is not None:
        routes += gateway.faults.routes
        described = [gateway.faults.describe, *described]
    routes.append(Route("/openapi.json", Description(gateway.operations, described), methods=["GET"]))
    app = Starlette(
        routes=[*routes, *mounts],
        middleware=[Middleware(AccessControl, access=gateway.access)],
        exception_handlers={HTTPException: _no_route, WorkerError: _worker_error},
    )
    app.router.redirect_slashes = False  # RunPod's API has none
    return app


class AccessControl:
    """Admits a request by its head alone, before its body is read; answers preflight requests; adds CORS headers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket; ASGI's entry point."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        method = scope.get("method", "GET")  # a WebSocket has none
        cors = []
        try:
            cors = self._access.check_page(headers)
            if method != "OPTIONS" and not _is_page(scope, method):  # browsers send a preflight without the key
                self._access.check_key(headers)
        except RequestError as error:
            await _refuse(scope, receive, send, error, [*cors, *_close(headers)])
            return
        if method == "OPTIONS":
            await GatewayResponse(204, headers=cors)(scope, receive, send)
            return
        if b"%" in scope.get("raw_path", b""):
            scope["path"] = _with_escaped_slashes(scope["raw_path"])
        await self._app(scope, receive, _adding(send, cors) if cors else send)


class OperationApp:
    """Serves one operation of the endpoint that the path names."""

    def __init__(self, gateway: Gateway, operation: Operation) -> None:
        self._gateway = gateway
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ASGI's entry point."""
        request = GatewayRequest(scope, receive)
        try:
            try:
                response = await self._respond(request)
            except WorkerError as error:
                response = error_answer(error, openai=self._operation.name == OPENAI)
            response.raw_headers += request.extra_headers
            await response(scope, receive, send)
        except ClientDisconnected:  # nobody reads a response
            return

    async def _respond(self, request: GatewayRequest) -> Response:
        gateway, operation = self._gateway, self._operation
        await request.read_body(gateway.receive_limits.largest_body)
        if gateway.faults is not None and (injected := await gateway.faults.inject(operation.name)) is not None:
            return injected
        return await operation.serve(request, gateway.endpoint(request.param("endpoint")))


class Description:
    """Serves the OpenAPI description, made at the first request for it."""

    def __init__(self, operations: Sequence[Operation], described: Sequence[Describe] = ()) -> None:
        self._operations = operations
        self._described = described
        self._body = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ASGI's entry point."""
        if not self._body:
            self._body = dump(await asyncio.to_thread(self.document))
        await GatewayResponse(200, self._body)(scope, receive, send)

    def document(self) -> dict[str, Any]:
        """The description; imports FastAPI."""
        from worker_vllm.gateway.api.description import describe
        from worker_vllm.gateway.api.further_routes import description_route

        served = [(each.name, each.methods, each.path) for each in self._operations]
        further = [description_route(), *(route for each in self._described for route in each())]
        return describe([row for row in served if row[2] not in UNSUPPORTED], UNSUPPORTED, further)


def _route(gateway: Gateway, operation: Operation) -> Route:
    """The route of an operation. Starlette would add HEAD to GET, and a HEAD of job-take would take a job."""
    route = Route(f"/v2/{{endpoint}}{operation.path}", OperationApp(gateway, operation))
    route.methods = set(operation.methods.split()) or None
    return route


async def _refuse(
    scope: Scope, receive: Receive, send: Send, error: RequestError, headers: list[tuple[bytes, bytes]]
) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        return
    openai = scope["path"].split("/", 4)[3:4] == [OPENAI]
    await error_answer(error, openai=openai, headers=headers)(scope, receive, send)


def _is_page(scope: Scope, method: str) -> bool:
    path = str(scope["path"])
    return method == "GET" and scope["type"] == "http" and (path == PAGE or path.startswith(PAGE_FILES))


def _close(headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The header that ends the connection of a client that would send its body only when it is asked for."""
    return [(b"connection", b"close")] if b"expect" in headers else []


def _adding(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers


def _with_escaped_slashes(raw_path: bytes) -> str:
    """The decoded path in which `%2F`, and `%` itself, stay escaped: a name in the path may contain a slash."""
    segments = raw_path.decode("latin-1").split("/")
    return "/".join(quote(unquote(segment), safe=_ALL_BUT_SLASH) for segment in segments)


_ALL_BUT_SLASH = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "/%")


async def _no_route(request: Request, error: Exception) -> Response:
    """The answer where no route matches, in the API's own form."""
    assert isinstance(error, HTTPException)
    path = unquote(request.url.path)
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    openai = request.scope["path"].split("/", 4)[3:4] == [OPENAI]
    if error.status_code == 405:
        allowed = sorted((error.headers or {}).get("Allow", "").split(", "))
        found: WorkerError = RequestError(f"{request.method} {path}: expected {' or '.join(allowed)}", status=405)
        headers = [(b"allow", ", ".join(allowed).encode())]
    elif error.status_code == 404:
        found = _unknown(path)
    else:
        found = RequestError(str(error.detail), status=error.status_code)
    return error_answer(found, openai=openai, headers=headers)


def _unknown(path: str) -> NotFound:
    parts = path.split("/", 4)
    if len(parts) < 4 or parts[1] != "v2":
        return NotFound(f"{path}: expected /v2/{{endpoint}}/{{operation}}")
    return NotFound(f'"{parts[3]}": no operation of an endpoint')


async def _worker_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WorkerError)
    return error_answer(error)
