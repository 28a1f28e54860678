"""The guard of http mode: a pure ASGI 3 middleware inside the engine's own server, or inside the reverse proxy.

vLLM loads it with `--middleware worker_vllm.web.guard.RequestGuard`, outside its routes and its own middlewares. It
denies by default: a request passes only on a path of the allow-list, spelled exactly as there, with the route's
method, with a key where keys are configured, below the limits, and with a body that the policy allows. JSON bodies
are held once in memory, up to MAX_BODY_BYTES, as the engine holds them; multipart bodies and all responses are
streamed. Standard library only: it shares the engine's interpreter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from worker_vllm.errors import NotFound, WorkerError
from worker_vllm.jobs.output.model_paths import without_local_paths
from worker_vllm.jobs.request.routes import DATA_ROUTES, MODELS, Family, Route, find_route
from worker_vllm.json_bytes import dump
from worker_vllm.web.asgi import (
    JSON,
    App,
    Exchange,
    HttpRefusal,
    Message,
    Receive,
    Scope,
    Send,
    path_of,
    with_length,
    without,
)
from worker_vllm.web.captured_response import CapturedResponse, respond_captured, respond_ranked
from worker_vllm.web.client_keys import ClientKeys
from worker_vllm.web.guard_settings import ENGINE_HEALTH, GuardSettings, read
from worker_vllm.web.request_body import BodyMemory, Disconnected, LimitedBody, check_headers, replayed
from worker_vllm.web.request_checks import CheckedRequest, check
from worker_vllm.web.request_report import Report, RequestReporter

log = logging.getLogger(__name__)
access_log = logging.getLogger("worker_vllm.web.access")

RETRY_AFTER_S = b"1"
ENGINE_DEAD = 500  # the status of vLLM's server for a request whose engine has died, and for its own bugs
RETRY_AFTER_DEATH_S = b"5"
RELAUNCHED = "the engine stopped working and is launched again: send the request again after Retry-After seconds"
LARGE_BYTES = 128 * 1024  # a body of this size takes the check a millisecond at most
CHECK_THREADS = 2
LIVE = "/health/live"
HEALTH_PATHS = ("/health", "/ping", LIVE, "/health/ready")
OPEN = ", ".join(f"{route.method} {route.path}" for route in DATA_ROUTES)


class RequestGuard:
    """Checks every request before the application sees it. One instance guards one server process."""

    def __init__(self, app: App, settings: GuardSettings | None = None, report: Report | None = None) -> None:
        if settings is None:  # loaded by the engine's server
            settings = read(os.environ)
            log_to_stderr()
        self._app = app
        self._settings = settings
        self._keys = ClientKeys(settings.key_digests, settings.keys_file)
        self._health = {*HEALTH_PATHS, settings.health_path}
        self._threads = ThreadPoolExecutor(CHECK_THREADS, thread_name_prefix="guard")  # started at the first use
        self._memory = BodyMemory(settings.max_body_bytes)
        self._running = 0
        self._reporter = RequestReporter(settings.report_token, report, traced=settings.traced)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ASGI's entry point."""
        if scope["type"] == "lifespan" or self._is_trusted(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = Exchange(scope, receive, send)
        exchange.reads_usage = self._reporter.reads_usage
        failure: WorkerError | None = None
        try:
            await self._serve(exchange)
        except Disconnected:
            pass
        except WorkerError as error:
            failure = error
            await exchange.fail(error)
        finally:
            self._log(exchange, failure)

    def _is_trusted(self, scope: Scope) -> bool:
        """Whether the request came over a Unix socket: ASGI's `server` has a port only for TCP.

        `client` would not do: a server behind a proxy takes it from a header.
        """
        server = scope.get("server")
        return self._settings.trust_unix and server is not None and server[1] is None

    async def _serve(self, exchange: Exchange) -> None:
        method = exchange.scope["method"]
        if exchange.path in self._health:
            await self._serve_health(exchange, method)
            return
        route = self._route(exchange)
        exchange.route = route.path
        if method != route.method:
            if method == "OPTIONS" and self._settings.preflight:  # answered by the engine's CORS middleware
                await self._app(exchange.scope, exchange.receive, exchange.send)
                return
            allow = (b"allow", route.method.encode())
            raise HttpRefusal(405, f"{route.path} takes {route.method}, got {method[:20]!r}", allow, param="method")
        self._check_key(exchange)
        check_headers(exchange.scope, self._settings.max_body_bytes)
        self._check_load()
        body = LimitedBody(exchange.receive, self._settings.max_body_bytes)
        if route.method == "GET" or route.family is Family.AUDIO:
            with self._place():
                self._reporter.began(exchange, route, {})
                await self._stream(exchange, route, body)
            return
        content = await body.read(self._memory)  # before it takes a place: slow clients occupy none
        request = await self._check(route, content)
        with self._place():
            self._reporter.began(exchange, route, request.body)
            await self._forward(exchange, route, request, changed=request.content is not content)

    async def _check(self, route: Route, content: bytes) -> CheckedRequest:
        """Check the body: a large one in a thread, so that the engine's event loop goes on with other requests."""
        if len(content) < LARGE_BYTES:
            return check(route, content, self._settings)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, check, route, content, self._settings)

    def _check_load(self) -> None:
        """Raise HttpRefusal (429) when as many requests run as may."""
        most = self._settings.max_concurrency
        if self._running >= most:
            retry = (b"retry-after", RETRY_AFTER_S)
            raise HttpRefusal(429, f"this worker serves {most} requests at a time (MAX_CONCURRENCY); retry", retry)

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._check_load()
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def _route(self, exchange: Exchange) -> Route:
        settings = self._settings
        try:
            return find_route(
                exchange.path, lora_updates=settings.lora_updates, tokenizer_info=settings.tokenizer_info
            )
        except NotFound as closed:
            if "is closed" in closed.message:
                raise
            raise NotFound(f"no such route on this endpoint; open are: {OPEN}") from None

    def _check_key(self, exchange: Exchange) -> None:
        """Raise HttpRefusal without an accepted key; the key goes no further than here."""
        if not self._keys.required:
            return
        headers = exchange.scope["headers"]
        if not self._keys.accepts(headers):
            challenge = (b"www-authenticate", b"Bearer")
            raise HttpRefusal(401, "expected `Authorization: Bearer` with a key of this endpoint", challenge)
        exchange.scope["headers"] = without(headers, b"authorization", b"x-api-key")

    async def _forward(self, exchange: Exchange, route: Route, request: CheckedRequest, *, changed: bool) -> None:
        """Pass a checked request to the application."""
        if request.ranking is not None:
            await respond_ranked(self._ask, exchange, route, request, exchange.receive)
            return
        scope = with_length(exchange.scope, len(request.content)) if changed else exchange.scope
        await self._ask(scope, replayed(request.content, exchange.receive), exchange.send)

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application. Raises HttpRefusal (503) for the 500 of an engine that has died.

        vLLM's server lives on for a moment after its engine; what it answers then is no fault of the request.
        """
        dead = False

        async def check(message: Message) -> None:
            nonlocal dead
            dead = dead or await self._is_dead(scope, receive)
            if not dead:
                await send(message)

        def unless_dead(message: Message) -> Awaitable[None]:
            failed = message["type"] == "http.response.start" and message["status"] == ENGINE_DEAD
            return check(message) if failed or dead else send(message)

        await self._app(scope, receive, unless_dead)
        if dead:
            raise HttpRefusal(503, RELAUNCHED, (b"retry-after", RETRY_AFTER_DEATH_S))

    async def _is_dead(self, scope: Scope, receive: Receive) -> bool:
        """Whether the engine's own health reports so."""
        health = CapturedResponse()
        try:
            await self._app(health_request(scope), replayed(b"", receive), health.send)
        except WorkerError:  # the reverse proxy's: its server does not answer
            return True
        return health.status >= 500

    async def _stream(self, exchange: Exchange, route: Route, body: LimitedBody) -> None:
        """Pass a request on while its body arrives. Past a limit the client gets the refusal."""

        async def send(message: Message) -> None:
            if body.refusal is None:
                await exchange.send(message)

        try:
            if route.path == MODELS:
                await respond_captured(self._ask, exchange, body.receive, exchange.scope, self._models)
            else:
                await self._ask(exchange.scope, body.receive, send)
        except Exception:
            if body.refusal is None:
                raise
        if body.refusal is not None:
            raise body.refusal

    def _models(self, answer: object) -> tuple[bytes, tuple[bytes, bytes]]:
        return dump(without_local_paths(answer, self._settings.repository)), JSON

    async def _serve_health(self, exchange: Exchange, method: str) -> None:
        """Health needs no key. `/health/live` is the process; the other paths are the engine, or the worker's no."""
        if method not in ("GET", "HEAD"):
            raise HttpRefusal(405, f"{exchange.path} takes GET", (b"allow", b"GET, HEAD"), param="method")
        if exchange.path == LIVE:
            await exchange.respond(200, b"")
            return
        if (reason := self._objection()) is not None:
            await exchange.respond(503, reason, JSON)
            return
        await self._app(health_request(exchange.scope), exchange.receive, exchange.send)

    def _objection(self) -> bytes | None:
        """Why the worker wants no more requests: the content of its file; None while there is none."""
        if self._settings.health_file is None:
            return None
        try:
            return Path(self._settings.health_file).read_bytes()
        except OSError:
            return None

    def _log(self, exchange: Exchange, failure: WorkerError | None) -> None:
        """Report a request that is over; without a worker to report to, log it."""
        if exchange.path in self._health:
            return
        if self._reporter.active:
            self._reporter.ended(exchange, failure)
            return
        if not access_log.isEnabledFor(logging.INFO):
            return
        path = path_of(exchange.scope) if exchange.status != 404 else "-"
        took_ms = (time.monotonic() - exchange.started) * 1000
        access_log.info(
            "%s %s %d %.0f ms %s",
            exchange.scope["method"][:20].encode("ascii", "replace").decode(),
            path,
            exchange.status,
            took_ms,
            exchange.request_id.decode(),
        )


def health_request(scope: Scope) -> Scope:
    """The scope of a request for the engine's own health, on the connection of another request."""
    path = scope.get("root_path", "") + ENGINE_HEALTH
    headers = without(scope["headers"], b"content-length", b"transfer-encoding")
    changed = {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
    return {**scope, **changed}


def log_to_stderr() -> None:
    """Write the guard's lines to stderr, in a process whose logging is the engine's."""
    package = logging.getLogger("worker_vllm")
    if not package.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(asctime)s %(name)s: %(message)s"))
        package.addHandler(handler)
        package.setLevel(logging.INFO)
