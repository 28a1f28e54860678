"""The gateway's responses: complete, with their headers as bytes."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.server.request import Header
from worker_vllm.json_bytes import dump

JSON_TYPE = b"application/json"
JSON_UTF8_TYPE = b"application/json; charset=utf-8"
EVENT_STREAM_TYPE = b"text/event-stream; charset=utf-8"


class GatewayResponse(Response):
    """A complete response; the headers are bytes already, so that none is encoded again."""

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: bytes = JSON_UTF8_TYPE,
        headers: Iterable[Header] = (),
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), *headers]
        if body:
            self.raw_headers.append((b"content-type", content_type))


def error_answer(error: WorkerError, *, openai: bool = False, headers: Iterable[Header] = ()) -> GatewayResponse:
    """An error: one sentence under `error`, as RunPod does; with `openai` the OpenAI error object."""
    body = error.to_body().encode() if openai else dump({"error": error.message})
    return GatewayResponse(error.status, body, headers=headers)
