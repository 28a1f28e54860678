"""The gateway itself: routing, the key, the origin; nothing that a job's path does not need."""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from worker_vllm.errors import NotFound, RequestError, WorkerError
from worker_vllm.gateway.fault_api import FaultApi
from worker_vllm.gateway.http import ClientGone, Request, Waiting, answer_error
from worker_vllm.gateway.live import LiveEndpoint
from worker_vllm.gateway.openai_api import OpenAIApi
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.public_api import PublicApi
from worker_vllm.gateway.webhooks import Webhooks
from worker_vllm.gateway.worker_api import WorkerApi

logger = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def new_uuid() -> str:
    """A random id."""
    return str(uuid.uuid4())


class Gateway:
    """Endpoints by name; any name is one, from its first use."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        key: str = "",
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_uuid,
    ) -> None:
        self._options = options
        self._key = key.encode()
        self._clock = clock
        self._webhooks = Webhooks(options.webhook_pause_s)
        self._endpoints: dict[str, LiveEndpoint] = {}
        self._worker_api = WorkerApi(options)
        self._public_api = PublicApi(options, new_id)
        self._openai_api = OpenAIApi(options, new_id)
        self.faults = FaultApi() if options.faults else None

    @property
    def largest_body(self) -> int:
        """No route takes a larger one, in bytes."""
        limits = self._options.limits
        return max(limits.run_bytes, limits.runsync_bytes, limits.result_bytes, limits.piece_bytes)

    def endpoint(self, name: str) -> LiveEndpoint:
        """The endpoint of that name. Raises NotFound when there are too many already."""
        found = self._endpoints.get(name)
        if found is None:
            if len(self._endpoints) >= self._options.limits.endpoints:
                raise NotFound(f'endpoint "{name}": this gateway already serves {len(self._endpoints)} endpoints')
            found = self._endpoints[name] = LiveEndpoint(self._options, self._clock, self._webhooks)
        return found

    def close(self) -> None:
        """Answer every held request now, so that the server can stop."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    async def aclose(self) -> None:
        """Close, and give up what is still to be delivered."""
        self.close()
        await self._webhooks.close()

    def handle(self, request: Request) -> Waiting:
        """Answer a request, or return what will answer it."""
        try:
            waiting = self._admit(request)
        except WorkerError as error:
            _refuse(request, error)
            return None
        return None if waiting is None else _finish(request, waiting)

    def _admit(self, request: Request) -> Waiting:
        self._admit_origin(request)
        if request.method == "OPTIONS":
            request.answer(204)
            return None
        self._check_key(request)
        if self.faults is None:
            return self._serve(request)
        if request.path.startswith("/faults"):
            self.faults.control(request)
            return None
        operation = request.path.split("/", 4)[3:4]
        return self.faults.serve(request, operation[0] if operation else "", self._serve)

    def _serve(self, request: Request) -> Waiting:
        parts = request.path.split("/", 5)
        if len(parts) < 4 or parts[1] != "v2":
            raise NotFound(f"{request.path}: expected /v2/{{endpoint}}/{{operation}}")
        endpoint = self.endpoint(parts[2])
        operation, first, second = parts[3], parts[4] if len(parts) > 4 else "", parts[5] if len(parts) > 5 else ""
        if operation in self._worker_api.routes:
            return self._worker_api.routes[operation](request, endpoint, first, second)
        if operation == "openai":
            return self._openai_api.forward(request, endpoint, request.path.partition("/openai")[2])
        if operation not in self._public_api.routes:
            raise NotFound(f'"{operation}": no operation of an endpoint')
        methods, serve = self._public_api.routes[operation]
        if request.method not in methods.split():
            raise RequestError(f"{request.method} {request.path}: expected {methods}", status=405)
        return serve(request, endpoint, first)

    def _check_key(self, request: Request) -> None:
        if not self._key:
            return
        given = request.header(b"authorization").removeprefix("Bearer ").encode("latin-1")
        if not hmac.compare_digest(given, self._key):
            raise RequestError("the Authorization header does not hold this gateway's key", status=401)

    def _admit_origin(self, request: Request) -> None:
        """Pages from this machine may call; a page from elsewhere must not drive a keyless gateway."""
        origin = request.header(b"origin")
        if not origin:
            return
        split = urlsplit(origin)
        known = split.hostname in LOOPBACK or split.netloc == request.header(b"host")
        if not known and origin not in self._options.allowed_origins:
            raise RequestError(
                f"requests from pages of {origin} are not allowed; see --set allowed_origins", status=403
            )
        request.extra_headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-allow-methods", b"*"),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]


async def _finish(request: Request, waiting: Coroutine[Any, Any, None]) -> None:
    try:
        await waiting
    except ClientGone:
        request.abort()
    except WorkerError as error:
        _refuse(request, error)


def _refuse(request: Request, error: WorkerError) -> None:
    answer_error(request, error, openai="/openai/" in request.path)
