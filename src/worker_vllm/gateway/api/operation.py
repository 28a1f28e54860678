"""One operation of an endpoint: its name, its methods and path, and the method that serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from starlette.responses import Response

from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import GatewayRequest

Handler: TypeAlias = Callable[[GatewayRequest, EndpointRuntime], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is below /v2/{endpoint}, in Starlette's notation; `methods` with spaces between them, empty for any."""

    name: str
    methods: str
    path: str
    serve: Handler
