"""The control channel for tests: scripts for the next requests, gates, waiting for counts, sudden ends.

Everything under /echo/ on the engine's own socket; the worker's allow-list never lets a job reach it.
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

REMEMBERED = 256  # requests, and at most this many bytes of each body
REMEMBERED_BYTES = 16384


@dataclass(slots=True)
class Control:
    """What tests have asked for and what the engine has seen."""

    runner: Runner
    default: Script
    _next: Script | None = None
    _times: int = 0
    health: int = 200
    seen: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def script(self) -> Script:
        """The script of the next generation; one of the scripted requests is used up."""
        if self._next is None or self._times == 0:
            return self.default
        self._times -= 1
        return self._next

    def remember(self, request: EchoRequest) -> None:
        """Keep the request for /echo/requests."""
        body = request.body[:REMEMBERED_BYTES].decode(errors="replace")
        headers = dict(request.headers)
        self.seen.append({"method": request.method, "path": request.path, "headers": headers, "body": body})

    def state(self) -> dict[str, Any]:
        """Counts as of now."""
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
            await self._look(action, request, reply)
            return
        self._act(action, request.json())
        await reply.json(self.state())

    async def _look(self, action: str, request: EchoRequest, reply: Reply) -> None:
        if action == "requests":
            await reply.json(list(self.seen))
        elif action == "state":
            await reply.json(self.state())
        elif action == "wait":  # answers once the counts are exactly those asked for
            wanted = {name: int(values[-1]) for name, values in parse_qs(request.query).items()}
            await self.runner.scheduler.until(
                lambda now: all(getattr(now, name) == count for name, count in wanted.items())
            )
            await reply.json(self.state())
        else:
            raise RequestError(f"echo: no control {action!r}", status=404)

    def _act(self, action: str, body: dict[str, Any]) -> None:
        if action == "script":  # {"times": 3, "script": {...}}: the next 3 generations; -1 is all from now on
            self._next = override(self.default, body.get("script", {}))
            self._times = fields.whole(body, "times", 1, least=-1)
        elif action == "release":
            self.runner.gates.release(str(body.get("gate")), fields.whole(body, "tokens", 1))
        elif action == "health":
            self.health = fields.whole(body, "status", 200)
        elif action == "exit":
            self.runner.exit(fields.whole(body, "code", 1))
        elif action == "freeze":  # the engine core alone: the server goes on to answer what needs no core
            self.runner.scheduler.freeze(bool(body.get("frozen", True)))
        elif action == "block":  # the whole event loop, as a stuck engine's
            block_ms = fields.whole(body, "ms", 0)
            sys.stderr.write(f"echo engine: blocked for {block_ms} ms\n")  # which tests wait for
            time.sleep(block_ms / 1000)
        else:
            raise RequestError(f"echo: no control {action!r}", status=404)
