"""Responses that are read whole before the client gets them: ranked sequences, and the model list."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from worker_vllm.errors import EngineError, RequestError
from worker_vllm.jobs.output.synthetic_stream import synthetic_events
from worker_vllm.jobs.request.best_of import rank_answer, ranking_body
from worker_vllm.jobs.request.routes import Family, Route
from worker_vllm.json_bytes import dump, dump_ascii
from worker_vllm.web.asgi import JSON, App, Exchange, Header, Message, Receive, Scope, with_length, without
from worker_vllm.web.request_body import replayed
from worker_vllm.web.request_checks import CheckedRequest

LARGEST = 80_000_000  # with the sequences that ranking discards, and their log-probabilities


class CapturedResponse:
    """What an application sends, collected up to LARGEST bytes."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[Header] = []
        self._pieces: list[bytes] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        """Collect one message. Raises RequestError (413) past the limit."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            return
        self._pieces.append(bytes(message.get("body", b"")))
        self._size += len(self._pieces[-1])
        if self._size > LARGEST:
            raise RequestError(f"the answer is larger than {LARGEST} bytes; ask for fewer sequences", status=413)

    @property
    def body(self) -> bytes:
        """The complete body."""
        return b"".join(self._pieces)


async def respond_captured(
    app: App, exchange: Exchange, receive: Receive, scope: Scope, change: Callable[[Any], tuple[bytes, Header]]
) -> None:
    """Run the application, and send its JSON answer as `change` makes it; an error answer stays as it is."""
    captured = CapturedResponse()
    await app(scope, receive, captured.send)
    if not captured.status:  # the client has disconnected
        return
    body, kind = captured.body, None
    if captured.status < 300:
        try:
            body, kind = change(json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineError(f"the engine's answer has another form than expected: {error!r:.100}") from error
    headers = without(captured.headers, b"content-length", *([b"content-type"] if kind else []))
    await exchange.respond(captured.status, body, *headers, *([kind] if kind else []))


async def respond_ranked(
    app: App, exchange: Exchange, route: Route, request: CheckedRequest, receive: Receive
) -> None:
    """Generate every sequence without a stream, and send the best ones, as a stream where one is asked for."""
    ranking, body = request.ranking, request.body
    assert ranking is not None
    content = dump_ascii(ranking_body(body, ranking, chat=route.family is Family.CHAT))

    def best(answer: Any) -> tuple[bytes, Header]:
        ranked = rank_answer(answer, ranking, body).answer
        if not body.get("stream"):
            return dump(ranked), JSON
        return b"".join(synthetic_events(ranked, body)), (b"content-type", b"text/event-stream; charset=utf-8")

    scope = with_length(exchange.scope, len(content))
    await respond_captured(app, exchange, replayed(content, receive), scope, best)
