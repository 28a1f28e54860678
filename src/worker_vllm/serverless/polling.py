"""One long poll: its answer, or the fact that none came, and how long it was held."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from worker_vllm.serverless.exchange import Answer, NoAnswer, NotSent
from worker_vllm.serverless.platform import Platform

log = logging.getLogger(__name__)

LONGEST_POLL_S = 90.0
QUIET = (200, 204, 400, 429)  # 400 is what a paused worker is told


@dataclass(frozen=True, slots=True)
class Polled:
    """What a long poll brought. `body` is empty unless the answer was a 200 that carries JSON."""

    answer: Answer | None
    held_s: float

    @property
    def body(self) -> bytes:
        """The body of a 200 answer of type JSON."""
        if self.answer is None or self.answer.status != 200:
            return b""
        kind = self.answer.header("content-type") or "application/json"
        return self.answer.body if kind.partition(";")[0].strip().lower() == "application/json" else b""


async def poll(platform: Platform, url: str, what: str) -> Polled:
    """Wait for an answer from `url`; `what` names the poll in the log. Raises nothing but CancelledError."""
    clock = asyncio.get_running_loop().time
    began = clock()
    answer: Answer | None = None
    try:
        answer = await platform.get(url, LONGEST_POLL_S)
    except NotSent as error:
        log.warning("%s: %s", what, error)
    except NoAnswer as error:
        log.info("%s: %s", what, error)
    if answer is not None and answer.status not in QUIET:
        log.warning("%s: HTTP %d", what, answer.status)
    return Polled(answer, clock() - began)
