"""One long poll: its answer, or the fact that none came, and how long it was held."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.http.content_encoding import plain_body

log = logging.getLogger(__name__)

LONGEST_POLL_S = 90.0


@dataclass(frozen=True, slots=True)
class Polled:
    """What a long poll brought. `body` is empty unless the answer was a 200 that carries JSON."""

    answer: PlatformAnswer | None
    held_s: float
    body: bytes = b""


async def poll(platform: Platform, url: str, what: str) -> Polled:
    """Wait for an answer from `url`; `what` names the poll in the log. Raises nothing but CancelledError.

    That there was no answer, or not the right one, is told by the platform's own log lines.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    answer: PlatformAnswer | None = None
    try:
        answer = await platform.get(url, LONGEST_POLL_S)
    except (NotSent, NoAnswer) as error:
        log.debug("%s: %s", what, error)
    return Polled(answer, clock() - began, _json_text(answer, what) if answer is not None else b"")


def _json_text(answer: PlatformAnswer, what: str) -> bytes:
    """The body of a 200 answer of type JSON, decompressed."""
    kind = answer.header("content-type") or "application/json"
    if answer.status != 200 or kind.partition(";")[0].strip().lower() != "application/json":
        return b""
    try:
        return plain_body(answer)
    except ValueError as error:
        log.error("%s: whatever this answer brought is lost: %s", what, error)
        return b""
