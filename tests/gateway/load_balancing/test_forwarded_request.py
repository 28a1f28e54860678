"""What the load balancer records of a request, for the line that `local` prints."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from tests.gateway.load_balancing.workers import QUICK, edge, edge_with
from worker_vllm.gateway.load_balancing.forwarded_request import ForwardedRequest

USAGE = '"usage": {"prompt_tokens": 7, "completion_tokens": 3}'
JSON, EVENTS = [(b"content-type", b"application/json")], [(b"content-type", b"text/event-stream; charset=utf-8")]


def recorded(status: int, headers: list[tuple[bytes, bytes]], *chunks: str) -> dict[str, Any]:
    """The record of a response that came in these chunks, half a second apart."""
    seen = ForwardedRequest("/v1/completions?key=s3cret", began=10.0)
    seen.assigned_to("w", 11.0)
    seen.responded(status, headers)
    for number, chunk in enumerate(chunks):
        seen.piece(chunk.encode(), 12.0 + number / 2)
    seen.complete()
    found = seen.record("e", 13.0, offset=1000.0)
    return {name: getattr(found, name) for name in found.__slots__}


KNOWN = {
    "number": 0,
    "at": 1013.0,
    "endpoint": "e",
    "id": "",
    "route": "/v1/completions",
    "worker": "w",
    "status": "200",
    "wait_s": 1.0,
    "first_s": None,
    "total_s": 3.0,
    "tokens_in": 7,
    "tokens_out": 3,
    "estimated": False,
    "tokens_per_s": 1.5,
    "hint": "",
}
UNKNOWN = KNOWN | {"tokens_in": None, "tokens_out": None, "tokens_per_s": None}


@pytest.mark.parametrize(
    ("status", "headers", "chunks", "expected"),
    [
        (200, [*JSON, (b"x-request-id", b"r-1")], ['{"a": 1, ', USAGE + "}"], KNOWN | {"id": "r-1"}),
        (200, JSON, ['{"a": 1, "us', USAGE.removeprefix('"us') + "}"], KNOWN),
        (200, EVENTS, ["data: {}\n\n", f"data: {{{USAGE}}}\n\n"], KNOWN | {"first_s": 2.0}),
        (
            200,
            EVENTS,
            ['data: {"x": 1}\n\n' * 3, 'data: {"x": 1}\n\n' * 3],
            KNOWN | {"first_s": 2.0, "tokens_in": None, "tokens_out": 4, "estimated": True, "tokens_per_s": 2.0},
        ),
        (200, [(b"content-type", b"audio/wav")], [USAGE], UNKNOWN),
        (
            404,
            JSON,
            ['{"error": {"message": "no such\\nmodel"}}'],
            UNKNOWN | {"status": "404", "hint": "no such model"},
        ),
        (503, JSON, ['{"error": "it starts"}'], UNKNOWN | {"status": "503", "hint": "it starts"}),
        (500, JSON, ["[1]"], UNKNOWN | {"status": "500"}),
        (500, JSON, ["not JSON"], UNKNOWN | {"status": "500"}),
    ],
)
def test_a_response_tells_its_tokens(
    status: int, headers: list[tuple[bytes, bytes]], chunks: list[str], expected: dict[str, Any]
) -> None:
    """As its usage says, wherever it is cut; a stream without one has its events; an error has its sentence."""
    assert recorded(status, headers, *chunks) == expected


def test_what_is_kept_of_a_response_is_bounded() -> None:
    """The end alone, where the usage stands."""
    seen = ForwardedRequest("/", began=0.0)
    seen.responded(200, JSON)
    for _ in range(100):
        seen.piece(b"x" * 100_000, 1.0)
    assert seen.kept_bytes <= 20_000


async def test_every_request_is_recorded_once() -> None:
    """Answered by a worker or by the edge, cut off, or left by its client."""
    async with edge_with("w", options=replace(QUICK, request_s=5)) as (front, [worker]):
        found: list[ForwardedRequest] = []
        front.balancer.observe = found.append
        await front.ask("GET", "/v1/models")
        with pytest.raises(aiohttp.ClientError):
            await front.ask("GET", "/cut")
        left = asyncio.create_task(front.ask("GET", "/hold"))
        while not worker.held:
            await asyncio.sleep(0.002)
        left.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await left
        while len(found) < 3:
            await asyncio.sleep(0.002)
        assert [(one.route, one.status, one.worker) for one in found] == [
            ("/v1/models", "200", "w"),
            ("/cut", "cut off", "w"),
            ("/hold", "cancelled", "w"),
        ]
    async with edge() as front:
        front.balancer.observe = found.append
        await front.ask("GET", "/")
    last = found[-1].record("e", 1.0, offset=0.0)
    assert (last.status, last.worker, last.wait_s, last.hint) == ("400", "", None, "no workers available")
