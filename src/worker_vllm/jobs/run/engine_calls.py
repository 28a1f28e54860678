"""Requests to the engine. An error status is raised as the matching exception. A response is always closed at the
end, which aborts an unfinished one inside the engine.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from worker_vllm.engine.interface import Engine, EngineRequest, EngineResponse
from worker_vllm.errors import EngineError, RequestError
from worker_vllm.jobs.output.engine_answers import error_from_response
from worker_vllm.jobs.output.size_limits import RESULT_BYTES
from worker_vllm.jobs.request.best_of import RankedAnswer, Ranking, rank_answer, ranking_body
from worker_vllm.jobs.request.engine_request import json_request
from worker_vllm.jobs.request.routes import UNREPORTED, Family, Route
from worker_vllm.observability.job_record import USAGE_BYTES, current_record

ERROR_BYTES = 1_000_000
UNRANKED_BYTES = 4 * RESULT_BYTES  # a response with the sequences that ranking discards, and their log-probabilities


class EngineCalls:
    """Sends requests to one engine. All jobs share it; it holds no state of a request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def open(self, request: EngineRequest) -> AsyncIterator[EngineResponse]:
        """The engine's response with a status below 400, closed on exit.

        Raises the WorkerError that an error status means, or EngineUnavailable.
        """
        response = await self._send(request)
        try:
            yield response
        finally:
            response.close()

    async def json_object(self, request: EngineRequest, limit: int = RESULT_BYTES) -> dict[str, Any]:
        """The response's body as a JSON object. Raises RequestError (413) when it is larger than `limit` bytes."""
        async with self.open(request) as response:
            body = await read_body(response, limit)
        note_response(body)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise EngineError(f"{request.path}: expected a JSON object from the engine, got {body[:80]!r}")
        return value

    async def generate_and_rank(self, route: Route, body: Mapping[str, Any], ranking: Ranking) -> RankedAnswer:
        """Generate every sequence without streaming, and return the best ones."""
        request = json_request(route.path, ranking_body(body, ranking, chat=route.family is Family.CHAT))
        return rank_answer(await self.json_object(request, UNRANKED_BYTES), ranking, body)

    async def _send(self, request: EngineRequest) -> EngineResponse:
        record = current_record.get()
        if record is not None:
            own = record.request_headers(generates=request.path not in UNREPORTED)
            request = replace(request, headers={**request.headers, **own})
        response = await self._engine.request(request)
        if response.status < 400:
            return response
        if record is not None:
            record.withdraw(request.headers)
        try:
            raise error_from_response(response.status, await read_up_to(response, ERROR_BYTES))
        finally:
            response.close()


def event_reader() -> Callable[[bytes], None]:
    """What notes the tokens in a stream's events, for an engine that reports none."""
    record = current_record.get()
    return _ignore if record is None else record.read_events


def _ignore(run: bytes) -> None:
    """Note nothing: no record is kept."""


def note_response(body: bytes) -> None:
    """Note the usage that stands at the end of a complete response, for an engine that reports none."""
    if (record := current_record.get()) is not None and b'_tokens"' in body:
        record.last_usage = body[-USAGE_BYTES:]


async def read_body(response: EngineResponse, limit: int = RESULT_BYTES) -> bytes:
    """The complete body. Raises RequestError (413) as soon as more than `limit` bytes are announced or read."""
    announced = response.headers.get("content-length", "")
    too_large = announced.isdigit() and int(announced) > limit
    body = b"" if too_large else await read_up_to(response, limit)
    if too_large or len(body) > limit:
        raise RequestError(
            f"the engine's answer is larger than {limit} bytes, what the platform takes as a job's result: ask for "
            "fewer tokens, sequences, inputs or log-probabilities, split the request, or stream it",
            status=413,
        )
    return body


async def read_up_to(response: EngineResponse, limit: int) -> bytes:
    """The body up to and including the chunk that exceeds `limit` bytes; the rest is not read."""
    chunks, size = [], 0
    async for chunk in response.chunks():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return b"".join(chunks)
