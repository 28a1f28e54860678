"""The control channel for tests: scripts for the next requests, gates, waiting for counts, crashes.

Its routes are under /echo/ on the engine's own socket; the worker's list of allowed routes keeps jobs away from it.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from worker_vllm.echo.http_messages import EchoRequest, Reply
from worker_vllm.echo.routes import body as fields
from worker_vllm.echo.runner import Runner
from worker_vllm.echo.script import Script, override
from worker_vllm.errors import RequestError

RECORDED = 256  # requests kept, each with at most this many bytes of its body
RECORDED_BYTES = 16384


@dataclass(slots=True)
class Control:
    """The scripts that tests have set, and the requests that the engine has received."""

    runner: Runner
    default: Script
    _next: Script | None = None
    _times: int = 0
    health: int = 200
    seen: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECORDED))

    def take_script(self) -> Script:
        """The script for the next generation; counts down the scripted requests."""
        if self._next is None or self._times == 0:
            return self.default
        self._times -= 1
        return self._next

    def record(self, request: EchoRequest) -> None:
        """Keep the request for /echo/requests."""
        body = request.body[:RECORDED_BYTES].decode(errors="replace")
        headers = dict(request.headers)
        self.seen.append({"method": request.method, "path": request.path, "headers": headers, "body": body})

    def state(self) -> dict[str, Any]:
        """The current counts."""
        scheduler = self.runner.scheduler
        return {
            "running": scheduler.running,
            "waiting": scheduler.waiting,
            "generated": scheduler.generation_tokens,
            "finished": dict(scheduler.finished),
        }

    async def serve(self, request: EchoRequest, reply: Reply) -> None:
        """Answer one request under /echo/."""
        action = request.path.removeprefix("/echo/")
        if request.method == "GET":
            await self._get(action, request, reply)
            return
        self._apply(action, request.json())
        await reply.json(self.state())

    async def _get(self, action: str, request: EchoRequest, reply: Reply) -> None:
        if action == "requests":
            await reply.json(list(self.seen))
        elif action == "state":
            await reply.json(self.state())
        elif action == "wait":  # answers once the counts equal those of the query
            wanted = {name: int(values[-1]) for name, values in parse_qs(request.query).items()}
            await self.runner.scheduler.wait_for(
                lambda now: all(getattr(now, name) == count for name, count in wanted.items())
            )
            await reply.json(self.state())
        else:
            raise RequestError(f"echo: no control {action!r}", status=404)

    def _apply(self, action: str, body: dict[str, Any]) -> None:
        if action == "script":  # {"times": 3, "script": {...}}: the next 3 generations; -1 is all of them
            self._next = override(self.default, body.get("script", {}))
            self._times = fields.integer(body, "times", 1, least=-1)
        elif action == "release":
            self.runner.gates.release(str(body.get("gate")), fields.integer(body, "tokens", 1))
        elif action == "health":
            self.health = fields.integer(body, "status", 200)
        elif action == "exit":
            self.runner.exit(fields.integer(body, "code", 1))
        elif action == "freeze":  # stops the engine core alone: the server still answers routes that need no core
            self.runner.scheduler.freeze(bool(body.get("frozen", True)))
        elif action == "block":  # blocks the whole event loop
            block_ms = fields.integer(body, "ms", 0)
            sys.stderr.write(f"echo engine: blocked for {block_ms} ms\n")  # tests wait for this line
            time.sleep(block_ms / 1000)
        else:
            raise RequestError(f"echo: no control {action!r}", status=404)
