"""The gateway application: access checks and routing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

from worker_vllm.errors import NotFound, RequestError, WorkerError
from worker_vllm.gateway.api.access import Access
from worker_vllm.gateway.api.fault_api import FaultApi
from worker_vllm.gateway.api.jobs_api import JobsApi
from worker_vllm.gateway.api.openai_api import OpenAIApi
from worker_vllm.gateway.api.worker_api import WorkerApi
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import (
    ClientDisconnected,
    GatewayRequest,
    PendingResponse,
    ReceiveLimits,
    answer_error,
)
from worker_vllm.gateway.webhooks import Webhooks


def new_uuid() -> str:
    """A random id."""
    return str(uuid.uuid4())


class Gateway:
    """Owns the endpoints; an endpoint is created when its name is first used."""

    def __init__(
        self,
        options: GatewayOptions,
        *,
        key: str = "",
        clock: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = new_uuid,
    ) -> None:
        self._options = options
        self._access = Access(options, key)
        self._clock = clock
        self._webhooks = Webhooks(options.webhook_pause_s, sort_keys=options.sort_keys)
        self._endpoints: dict[str, EndpointRuntime] = {}
        self._worker_api = WorkerApi(options)
        self._public_api = JobsApi(options, new_id)
        self._openai_api = OpenAIApi(options, new_id)
        self.faults = FaultApi() if options.faults else None

    @property
    def receive_limits(self) -> ReceiveLimits:
        """The size and time limits for receiving a request."""
        limits, waits = self._options.limits, self._options.waits
        largest = max(limits.run_bytes, limits.runsync_bytes, limits.result_bytes, limits.piece_bytes)
        return ReceiveLimits(largest, waits.head_s, waits.body_s)

    def endpoint(self, name: str) -> EndpointRuntime:
        """Return the endpoint of that name. Raises NotFound when `limits.endpoints` exist already."""
        found = self._endpoints.get(name)
        if found is None:
            if len(self._endpoints) >= self._options.limits.endpoints:
                raise NotFound(f'endpoint "{name}": this gateway already serves {len(self._endpoints)} endpoints')
            found = self._endpoints[name] = EndpointRuntime(self._options, self._clock, self._webhooks)
        return found

    def close(self) -> None:
        """Answer every held request now; called when the server stops."""
        for endpoint in self._endpoints.values():
            endpoint.close()

    async def aclose(self) -> None:
        """Close, and cancel pending webhooks."""
        self.close()
        await self._webhooks.close()

    def admit(self, request: GatewayRequest) -> bool:
        """Whether the body may be read, decided by the head; if False, `handle` answers with the refusal."""
        try:
            self._access.check(request)
        except RequestError as error:
            request.refusal = error
        return request.refusal is None

    def handle(self, request: GatewayRequest) -> PendingResponse:
        """Answer a request that passed `admit`, or return the coroutine that answers it."""
        try:
            waiting = self._dispatch(request)
        except WorkerError as error:
            _refuse(request, error)
            return None
        return None if waiting is None else _finish(request, waiting)

    def _dispatch(self, request: GatewayRequest) -> PendingResponse:
        if request.refusal is not None:
            raise request.refusal
        if request.method == "OPTIONS":
            request.answer(204)
            return None
        if self.faults is None:
            return self._serve(request)
        if request.path.startswith("/faults"):
            self.faults.control(request)
            return None
        return self.faults.serve(request, _operation(request.raw_path), self._serve)

    def _serve(self, request: GatewayRequest) -> PendingResponse:
        parts = request.raw_path.split("/", 5)
        if "%" in request.raw_path:  # decoded after the split: a name may contain %2F
            parts = [unquote(part) for part in parts]
        if len(parts) < 4 or parts[1] != "v2":
            raise NotFound(f"{request.path}: expected /v2/{{endpoint}}/{{operation}}")
        endpoint = self.endpoint(parts[2])
        operation, first, second = parts[3], parts[4] if len(parts) > 4 else "", parts[5] if len(parts) > 5 else ""
        if operation == "openai":
            return self._openai_api.forward(request, endpoint, "".join(f"/{part}" for part in parts[4:]))
        if operation in self._worker_api.routes:
            methods, serve_worker = self._worker_api.routes[operation]
            request.expect_method(methods)
            return serve_worker(request, endpoint, first, second)
        if operation not in self._public_api.routes:
            raise NotFound(f'"{operation}": no operation of an endpoint')
        methods, serve = self._public_api.routes[operation]
        request.expect_method(methods)
        return serve(request, endpoint, first)


async def _finish(request: GatewayRequest, waiting: Coroutine[Any, Any, None]) -> None:
    try:
        await waiting
    except ClientDisconnected:
        request.abort()
    except WorkerError as error:
        _refuse(request, error)


def _refuse(request: GatewayRequest, error: WorkerError) -> None:
    answer_error(request, error, openai=_operation(request.raw_path) == "openai")


def _operation(raw_path: str) -> str:
    """The path segment after /v2/{endpoint}/, for any endpoint name."""
    return unquote("".join(raw_path.split("/", 4)[3:4]))
