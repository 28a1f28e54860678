"""The worker's tag of the request that is being served: the start of its X-Request-Id, kept for the whole request.

vLLM names some requests itself (0.32.0: `/v1/responses`), so that their ids do not contain the tag. A pure ASGI
middleware, the innermost of the command line. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

MIDDLEWARE = "worker_vllm.engine.child.request_tag.TagMiddleware"  # the value of vLLM's --middleware
TAGGED = re.compile(rb"([0-9a-f]{16})(?:\.|$)")

SERVE = "serve"  # vLLM's command, which the model follows

request_tag: ContextVar[str | None] = ContextVar("request_tag", default=None)

Scope = MutableMapping[str, Any]
Channel = Callable[..., Awaitable[Any]]


def add_middleware(argv: list[str]) -> None:
    """Add the middleware to a command line `vllm serve MODEL …`, before all others."""
    if argv[1:2] == [SERVE] and len(argv) > 2:
        argv[3:3] = ["--middleware", MIDDLEWARE]


class TagMiddleware:
    """Sets `request_tag` while a request runs; changes nothing."""

    def __init__(self, app: Callable[[Scope, Channel, Channel], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Channel, send: Channel) -> None:
        """Serve one request; ASGI's entry point."""
        for name, value in scope.get("headers", ()):
            if name == b"x-request-id" and (found := TAGGED.match(value)):
                request_tag.set(found[1].decode())
        await self._app(scope, receive, send)
