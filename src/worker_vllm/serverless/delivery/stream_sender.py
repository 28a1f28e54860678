"""Ordered delivery of a job's stream: one POST at a time per job, text merged while it waits.

The protocol does not number pieces, so a piece is sent again only when it was provably not accepted (no connection,
425, 429, 503), and only for minutes, since its job occupies a slot and KV memory meanwhile. An unknown outcome (no
answer, any other 5xx) breaks the stream: a repeat would double text.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from worker_vllm.jobs.output.output import Output
from worker_vllm.observability.job_record import current_record
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.aggregate import Aggregate
from worker_vllm.serverless.delivery.post_rate import PostScheduler
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.intake.backoff import FAILURE_BACKOFF, is_not_accepted, retry_after_s

log = logging.getLogger(__name__)

MERGE_LIMIT_BYTES = 512 * 1024  # of SSE text per piece: the platform's limit is 1 MB and JSON escapes grow it
POST_TIMEOUT_S = 60.0
PIECE_RETRY_S = 180.0  # how long one piece is sent again
GATHER_ITERATIONS = 3  # of the event loop: the job wakes and reads, the socket is read, the job takes the output over


class StreamBroken(Exception):
    """A piece cannot be delivered, or it is unknown whether it was accepted; the stream cannot go on."""


class JobGone(Exception):
    """The platform no longer knows the job: nothing more may be posted for it."""


@dataclass(frozen=True, slots=True)
class StreamSender:
    """Posts pieces with retries. All job streams share one; `random` returns numbers in [0, 1) for the jitter."""

    platform: Platform
    addresses: protocol.Addresses
    scheduler: PostScheduler
    random: Callable[[], float]
    retry_for_s: float = PIECE_RETRY_S

    async def post_piece(self, job_id: str, value: bytes) -> None:
        """Deliver one piece with the permit that was acquired for it. Raises StreamBroken or JobGone."""
        url, body = self.addresses.stream(job_id), protocol.stream_body(value)
        clock, record = asyncio.get_running_loop().time, current_record.get()
        give_up_at = clock() + self.retry_for_s
        failures = 0
        while True:
            pause_s = 0.0
            if record is not None:
                record.count_post("stream", sum(map(len, body)), repeated=failures > 0)
            try:
                answer = await self.platform.post(url, body, POST_TIMEOUT_S)
                if not is_not_accepted(answer.status):
                    return _check_accepted(answer)
                reason, pause_s = f"HTTP {answer.status}", retry_after_s(answer)
            except NoAnswer as error:
                raise StreamBroken(f"a piece of the stream may have been lost: {error}") from error
            except NotSent as error:
                reason = str(error)
            failures += 1
            pause_s = max(pause_s, FAILURE_BACKOFF.delay_s(failures) * (0.5 + 0.5 * self.random()))
            if clock() + pause_s > give_up_at:
                raise StreamBroken(
                    f"the platform did not accept a piece of the stream for {self.retry_for_s:g} s: {reason}"
                )
            await asyncio.sleep(pause_s)


def _check_accepted(answer: PlatformAnswer) -> None:
    if answer.status in (404, 410):
        raise JobGone(f"HTTP {answer.status}")
    if answer.status >= 500 or answer.status == 303:
        raise StreamBroken(f"a piece of the stream may have been lost: the platform answered HTTP {answer.status}")
    if answer.status >= 300:
        raise StreamBroken(f"the platform refused a piece of the stream with HTTP {answer.status}")


class JobStream:
    """One job's stream, owned by its JobRun.

    While a piece is in flight, `put` blocks its caller after one more output. The engine's further output then
    gathers in the engine's own connection, and is read at once when the next piece may be posted.
    """

    def __init__(self, job_id: str, sender: StreamSender) -> None:
        self._aggregate = Aggregate()
        self._job_id = job_id
        self._stream_sender = sender
        self._is_sse = False
        self._waiting: deque[Output] = deque()
        self._send_task: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._complete = False
        self._first = True

    @property
    def values(self) -> list[bytes]:
        """The final result's content: every value in order, or none where they exceed the platform's limit."""
        return self._aggregate.values

    async def put(self, output: Output) -> None:
        """Queue one output. Raises StreamBroken or JobGone once an earlier one could not be delivered."""
        if not output.streamed:
            self._aggregate.add(_value([output]))
            return
        self._is_sse = output.sse
        self._waiting.append(output)
        self._arrived.set()
        if self._send_task is None:
            if (record := current_record.get()) is not None and not record.outcome:
                record.first_token_at = time.monotonic()
            self._send_task = asyncio.create_task(self._send(), name=f"stream {self._job_id}")
        if not self._may_read.is_set():
            await self._may_read.wait()
        if self._send_task.done():
            await self._send_task

    async def finish(self) -> None:
        """Return once every piece was accepted. Raises StreamBroken or JobGone."""
        self._complete = True
        self._arrived.set()
        if self._send_task is not None:
            await self._send_task

    async def fail(self, final_events: bytes) -> None:
        """End a stream of server-sent events with `final_events`, which report its error; another stream just ends.

        Raises StreamBroken or JobGone.
        """
        if not self._is_sse or self._send_task is None:
            return
        last = Output(final_events, sse=True, mergeable=True)
        if self._send_task.done():
            await self._stream_sender.post_piece(self._job_id, _value([last]))
        else:
            self._waiting.append(last)
            await self.finish()

    def abandon(self) -> None:
        """Post nothing more; a POST in flight is aborted."""
        if self._send_task is not None:
            self._send_task.cancel()

    async def _send(self) -> None:
        try:
            with self._stream_sender.scheduler.stream():
                while await self._has_output():
                    await self._send_piece(self._stream_sender.scheduler)
        finally:
            self._may_read.set()

    async def _send_piece(self, scheduler: PostScheduler) -> None:
        was_idle = not self._may_read.is_set()
        self._may_read.clear()
        waited = await scheduler.acquire(urgent=self._first)
        self._first = False
        try:
            if was_idle or waited:
                await self._gather()
            await self._post_next()
        finally:
            scheduler.release()

    async def _gather(self) -> None:
        """Let the job read what the engine sent while `put` was blocked."""
        self._may_read.set()
        for _ in range(GATHER_ITERATIONS):
            await asyncio.sleep(0)
        self._may_read.clear()

    async def _post_next(self) -> None:
        value = _value(_merged(self._waiting))
        await self._stream_sender.post_piece(self._job_id, value)
        if self._aggregate.add(value):
            log.warning(
                "job=%s its stream exceeds the size limit of a result: job-done will not repeat it", self._job_id
            )

    async def _has_output(self) -> bool:
        while not self._waiting and not self._complete:
            self._may_read.set()
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._waiting)


def _merged(waiting: deque[Output]) -> list[Output]:
    """Remove the next piece from `waiting`: one output, or as many consecutive mergeable ones as fit."""
    piece = [waiting.popleft()]
    size = len(piece[0].data)
    while (
        waiting and piece[0].mergeable and waiting[0].mergeable and size + len(waiting[0].data) <= MERGE_LIMIT_BYTES
    ):
        size += len(waiting[0].data)
        piece.append(waiting.popleft())
    return piece


def _value(piece: list[Output]) -> bytes:
    data = piece[0].data if len(piece) == 1 else b"".join(output.data for output in piece)
    return protocol.text_value(data) if piece[0].sse else data
