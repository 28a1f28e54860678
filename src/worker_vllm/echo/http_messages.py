"""HTTP on bare ASGI for the echo engine: requests, responses, vLLM's error JSON, disconnects."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from worker_vllm.errors import EngineReportedError
from worker_vllm.json_bytes import dump_replacing

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
JSON_TYPE = ((b"content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class EchoRequest:
    """One request with its complete body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises EngineReportedError with vLLM's error for any other body."""
        if self.headers.get("content-type", "").lower().split(";")[0] != "application/json":
            raise _invalid("Unsupported Media Type: Only 'application/json' is allowed")
        try:
            body = json.loads(self.body)
        except json.JSONDecodeError as error:
            raise _invalid(f"JSON decode error: {error}", f"body.{error.pos}") from error
        except (UnicodeDecodeError, RecursionError) as error:
            raise _invalid(f"JSON decode error: {error}") from error
        if not isinstance(body, dict):
            raise _invalid("Input should be a valid dictionary")
        return body


@dataclass(frozen=True, slots=True)
class Reply:
    """Sends the response to one request."""

    send: Send

    async def start(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        """Send the status line and the headers."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self.send({"type": "http.response.body", "body": data})

    async def respond(self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = JSON_TYPE) -> None:
        """Send a complete response."""
        await self.start(status, (*headers, (b"content-length", b"%d" % len(body))))
        await self.end(body)

    async def json(self, value: Any, status: int = 200) -> None:
        """Send a JSON value as the complete response."""
        await self.respond(status, dump_replacing(value))

    def abort(self) -> None:
        """Abort the connection, also before the first byte of the response.

        ASGI has no way to do that: an application that returns without answering makes uvicorn send a 500. Its
        `send` is a method of the object that holds the transport (uvicorn 0.54, RequestResponseCycle).
        """
        transport: asyncio.Transport = self.send.__self__.transport  # type: ignore[attr-defined]
        transport.abort()


def _invalid(message: str, param: str = "body") -> EngineReportedError:
    return EngineReportedError(400, error_body(400, f"1 validation error:\n  {message}", param=param)["error"])


def error_body(status: int, message: str, kind: str | None = None, param: str | None = None) -> dict[str, Any]:
    """vLLM's error JSON; the default for `kind` is the HTTP status phrase, as in its HTTP layer."""
    kind = kind or HTTPStatus(status).phrase
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


async def read_request(scope: Mapping[str, Any], receive: Receive) -> EchoRequest:
    """Receive the request with its complete body."""
    pieces = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return EchoRequest(scope["method"], scope["path"], scope["query_string"].decode(), headers, b"".join(pieces))


async def run_until_disconnect(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Run `work`; cancel it when the client disconnects. Raises what `work` raises."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    job, watcher = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait({job, watcher}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
        job.cancel()
        await asyncio.wait({job, watcher})
    if not job.cancelled():
        job.result()
