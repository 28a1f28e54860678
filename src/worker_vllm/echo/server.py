"""The echo engine's HTTP server: uvicorn with a callback once it listens."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn

from worker_vllm.echo.http_messages import Receive, Send

AsgiApp = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Address:
    """The address to listen on: a Unix socket, or a host and a port."""

    uds: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000

    def __str__(self) -> str:
        return f"unix:{self.uds}" if self.uds else f"http://{self.host}:{self.port}"


class EchoServer(uvicorn.Server):
    """Serves one echo engine; calls `on_listening` once it accepts connections. A stop aborts running requests."""

    def __init__(
        self, app: AsgiApp, address: Address, on_listening: Callable[[], object], *, keep_alive_s: int = 5
    ) -> None:
        config = uvicorn.Config(
            app,
            uds=address.uds,
            host=address.host,
            port=address.port,
            log_level="critical",  # no traceback for a scripted disconnect
            access_log=False,
            lifespan="off",
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=0,
        )
        super().__init__(config)
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `on_listening`."""
        await super().startup(sockets)
        self._on_listening()
