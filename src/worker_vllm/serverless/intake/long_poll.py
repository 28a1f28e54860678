"""One long poll: its answer, if one came, and how long the platform held it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.http.content_encoding import plain_body

log = logging.getLogger(__name__)

MAX_POLL_S = 90.0


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of a long poll. `body` is empty unless the answer was a 200 that carries JSON."""

    answer: PlatformAnswer | None
    held_s: float
    body: bytes = b""


async def poll(platform: Platform, url: str, what: str) -> PollResult:
    """Wait for an answer from `url`; `what` names the poll in the log. Raises nothing but CancelledError.

    A missing or unexpected answer is logged by `OutageLog`.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    answer: PlatformAnswer | None = None
    try:
        answer = await platform.get(url, MAX_POLL_S)
    except (NotSent, NoAnswer) as error:
        log.debug("%s: %s", what, error)
    return PollResult(answer, clock() - began, _json_text(answer, what) if answer is not None else b"")


def _json_text(answer: PlatformAnswer, what: str) -> bytes:
    """The body of a 200 answer of type JSON, decompressed."""
    kind = answer.header("content-type") or "application/json"
    if answer.status != 200 or kind.partition(";")[0].strip().lower() != "application/json":
        return b""
    try:
        return plain_body(answer)
    except ValueError as error:
        log.error("%s: an answer that cannot be decompressed is lost: %s", what, error)
        return b""
