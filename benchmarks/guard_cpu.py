"""CPU time of the guard alone: the same ASGI calls to a trivial application, with the guard around it and without."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import replace
from typing import Any

from worker_vllm.engine.child.report_line import ReportLines
from worker_vllm.web.asgi import App, Message, Receive, Scope, Send
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings, digest

REPEATS, TRIES = 300, 5
PIECES = 1000
CHAT = "/v1/chat/completions"
KEY = b"a-key-of-clients"


def chat(size: int) -> bytes:
    """A chat request with a text of this size."""
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x" * size}], "max_tokens": 16, "temperature": 0}
    ).encode()


BODIES = {"0.1 kB": chat(100), "10 kB": chat(10_000), "100 kB": chat(100_000), "1 MB": chat(1_000_000)}


class Streaming:
    """Reads the request and sends a response of so many pieces."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; ASGI's entry point."""
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(self._pieces):
            await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def spent_us(app: App, body: bytes, repeats: int) -> float:
    """The least CPU time of a request, over several tries."""
    headers = [(b"host", b"worker"), (b"content-type", b"application/json"), (b"authorization", b"Bearer " + KEY)]
    headers.append((b"content-length", b"%d" % len(body)))
    fixed: dict[str, Any] = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode()}
    fixed |= {"query_string": b"", "root_path": "", "client": ("10.0.0.9", 1), "server": ("10.0.0.1", 80)}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        pass

    found = []
    for _ in range(TRIES):
        began = time.process_time()
        for _ in range(repeats):
            await app({**fixed, "headers": list(headers)}, receive, send)
        found.append((time.process_time() - began) / repeats * 1e6)
    return min(found)


async def guard_costs() -> dict[str, float]:
    """Microseconds of CPU that the guard adds, by what it does."""
    access = logging.getLogger("worker_vllm.web.access")
    access.addHandler(logging.NullHandler())
    access.propagate = False
    access.setLevel(logging.INFO)  # the line is made, and not written
    settings = GuardSettings(key_digests=(digest(KEY),))
    costs = {}
    for name, body in BODIES.items():
        repeats = REPEATS if len(body) < 200_000 else REPEATS // 10
        bare, guarded = Streaming(0), RequestGuard(Streaming(0), settings)
        costs[f"guard, a request of {name}"] = await spent_us(guarded, body, repeats) - await spent_us(
            bare, body, repeats
        )
    reports = ReportLines(os.open(os.devnull, os.O_WRONLY))
    reporting = RequestGuard(Streaming(0), replace(settings, report_token="x" * 32), reports.add)
    body = BODIES["0.1 kB"]
    costs["its reports of a request"] = await spent_us(reporting, body, REPEATS) - await spent_us(
        RequestGuard(Streaming(0), settings), body, REPEATS
    )
    bare, guarded = Streaming(PIECES), RequestGuard(Streaming(PIECES), settings)
    whole = await spent_us(guarded, body, 20) - await spent_us(bare, body, 20)
    costs["guard, a streamed piece"] = (whole - costs["guard, a request of 0.1 kB"]) / PIECES
    return costs
