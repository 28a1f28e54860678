"""A server whose engine has died answers 500 for a moment: clients get 503, which says that a retry can succeed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.asgi import call
from worker_vllm.json_bytes import dump
from worker_vllm.web.asgi import Message, Receive, Scope, Send
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "one"}], "max_tokens": 1}
FAILED = dump({"error": {"message": "EngineCore encountered an issue", "code": 500}})


class FailingApp:
    """Answers one status on its health and another, with two pieces, on every other route."""

    def __init__(self, health: int, status: int) -> None:
        self.asked: list[str] = []
        self._statuses = {"/health": health}
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append(f"{scope['method']} {scope['path']}")
        await receive()
        status = self._statuses.get(scope["path"], self._status)
        start: Message = {"type": "http.response.start", "status": status, "headers": []}
        pieces: Sequence[Message] = (
            start,
            {"type": "http.response.body", "body": FAILED[:9], "more_body": True},
            {"type": "http.response.body", "body": FAILED[9:]},
        )
        for message in pieces:
            await send(message)


@pytest.mark.parametrize(
    ("health", "status", "expected", "asked"),
    [
        (503, 500, 503, [f"POST {CHAT}", "GET /health"]),
        (200, 500, 500, [f"POST {CHAT}", "GET /health"]),
        (503, 400, 400, [f"POST {CHAT}"]),
        (503, 200, 200, [f"POST {CHAT}"]),
    ],
    ids=["dead", "a bug of its own", "the request's fault", "it answered before"],
)
async def test_only_the_500_of_a_dead_engine_becomes_503(
    health: int, status: int, expected: int, asked: list[str]
) -> None:
    app = FailingApp(health, status)
    reply = await call(RequestGuard(app, GuardSettings()), "POST", CHAT, ASK)
    assert (reply.status, app.asked) == (expected, asked)
    if expected != 503:
        assert reply.body == FAILED
        return
    assert int(reply.headers["retry-after"]) >= 1
    assert "is launched again" in reply.error["message"]
