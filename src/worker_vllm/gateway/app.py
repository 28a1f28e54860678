"""The gateway as an ASGI application: routing, the key, and nothing that a job's path does not need."""

from __future__ import annotations

import hmac
import logging
import time
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from worker_vllm.errors import NotFound, RequestError, WorkerError
from worker_vllm.gateway.fault_api import FaultApi
from worker_vllm.gateway.http import ClientGone, Receive, Request, Scope, Send, answer_error
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        try:
            self._admit_origin(request)
            if request.method == "OPTIONS":
                await request.answer(204)
                return
            self._check_key(request)
            await self._route(request)
        except ClientGone:
            pass
        except WorkerError as error:
            await answer_error(request, error, openai="/openai/" in request.path)

    async def _route(self, request: Request) -> None:
        if self.faults is None:
            await self._serve(request)
        elif request.path.startswith("/faults"):
            await self.faults.control(request)
        else:
            operation = request.path.split("/", 4)[3:4]
            await self.faults.serve(request, operation[0] if operation else "", self._serve)

    async def _serve(self, request: Request) -> None:
        parts = request.path.split("/", 5)
        if len(parts) < 4 or parts[1] != "v2":
            raise NotFound(f"{request.path}: expected /v2/{{endpoint}}/{{operation}}")
        endpoint = self.endpoint(parts[2])
        operation, first, second = parts[3], parts[4] if len(parts) > 4 else "", parts[5] if len(parts) > 5 else ""
        if operation in self._worker_api.routes:
            await self._worker_api.routes[operation](request, endpoint, first, second)
        elif operation == "openai":
            await self._openai_api.forward(request, endpoint, request.path.partition("/openai")[2])
        elif operation in self._public_api.routes:
            methods, serve = self._public_api.routes[operation]
            if request.method not in methods.split():
                raise RequestError(f"{request.method} {request.path}: expected {methods}", status=405)
            await serve(request, endpoint, first)
        else:
            raise NotFound(f'"{operation}": no operation of an endpoint')

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
            raise RequestError(f"requests from pages of {origin} are not allowed; see --allow-origin", status=403)
        request.extra_headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-headers", b"*, authorization"),
            (b"access-control-allow-methods", b"*"),
            (b"access-control-expose-headers", b"*"),
            (b"vary", b"origin"),
        ]
