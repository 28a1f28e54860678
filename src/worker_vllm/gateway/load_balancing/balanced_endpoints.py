"""The ASGI application below `/lb/`: the endpoint's id is the first part of the path, the rest is the worker's."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote

from starlette.types import Receive, Scope, Send

from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.edge_answers import EdgeAnswer
from worker_vllm.gateway.load_balancing.forwarded_request import ForwardedRequest
from worker_vllm.gateway.load_balancing.http_forwarding import EdgeReply, HttpForwarding
from worker_vllm.gateway.load_balancing.websocket_forwarding import WebSocketForwarding
from worker_vllm.gateway.options import BalancerOptions

PREFIX = "/lb/"
MIN_PARTS = 3


class BalancedEndpoints:
    """The load-balancing endpoints of one gateway; the caller has checked the key already."""

    def __init__(self, options: BalancerOptions, clock: Callable[[], float]) -> None:
        self._options = options
        self._clock = clock
        self._endpoints: dict[str, LoadBalancer] = {}
        self.observe: Callable[[str, ForwardedRequest], None] = lambda name, request: None

    def create(self, name: str) -> LoadBalancer:
        """Add an endpoint; called inside the event loop."""
        self._endpoints[name] = endpoint = LoadBalancer(self._options, self._clock)
        endpoint.observe = lambda request: self.observe(name, request)
        return endpoint

    def endpoint(self, name: str) -> LoadBalancer:
        """An endpoint that `create` has added."""
        return self._endpoints[name]

    def find(self, name: str) -> LoadBalancer | None:
        """The endpoint of this name, None where there is none."""
        return self._endpoints.get(name)

    def names(self) -> list[str]:
        """The endpoints' names."""
        return list(self._endpoints)

    async def remove(self, name: str) -> None:
        """Close an endpoint; does nothing for an unknown name."""
        endpoint = self._endpoints.pop(name, None)
        if endpoint is not None:
            await endpoint.aclose()

    async def aclose(self) -> None:
        """Close every endpoint."""
        for endpoint in self._endpoints.values():
            await endpoint.aclose()
        self._endpoints.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket whose path begins with PREFIX."""
        name, target = split_target(scope)
        endpoint = self._endpoints.get(name)
        if scope["type"] == "websocket":
            if endpoint is None:
                await send({"type": "websocket.close", "code": 1008})
            else:
                await WebSocketForwarding(endpoint, target, scope, receive, send).run()
        elif endpoint is None:
            await EdgeReply(send).answer(_unknown(name, list(self._endpoints)))
        else:
            await HttpForwarding(endpoint, target, scope, receive, send).run()


def split_target(scope: Scope) -> tuple[str, str]:
    """The endpoint's id, and path and query as the client wrote them, for the worker."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    parts = raw.decode("latin-1").split("/", MIN_PARTS)
    name = unquote(parts[2]) if len(parts) >= MIN_PARTS else ""
    path = f"/{parts[MIN_PARTS]}" if len(parts) > MIN_PARTS else "/"
    query = scope.get("query_string", b"").decode("latin-1")
    return name, f"{path}?{query}" if query else path


def _unknown(name: str, known: list[str]) -> EdgeAnswer:
    if not known:
        return EdgeAnswer(404, f'"{name}": this gateway has no load-balancing endpoint; start it with --mode http')
    return EdgeAnswer(404, f'"{name}": no load-balancing endpoint; this gateway has {", ".join(known)}')
