"""Ordered delivery of a job's stream: one POST at a time per job, text merged while it waits.

The protocol numbers nothing, so a piece is sent again only when it was provably not accepted (no connection, 425,
429, 503), and for minutes, since its job holds a slot and KV memory meanwhile. An unknown outcome (no answer, any
other 5xx) breaks the stream: a repeat would double text.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.aggregate import Aggregate
from worker_vllm.serverless.delivery.post_rate import PostScheduler
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent, PlatformAnswer
from worker_vllm.serverless.intake.backoff import BROKEN, is_not_accepted, retry_after_s

log = logging.getLogger(__name__)

MERGE_LIMIT_BYTES = 512 * 1024  # of SSE text per piece: the platform's limit is 1 MB and JSON escapes grow it
POST_TIMEOUT_S = 60.0
PIECE_PATIENCE_S = 180.0  # how long one piece is sent again
GATHER_TURNS = 3  # of the event loop: the job wakes and asks the socket, the socket is read, the job takes it over


class StreamBroken(Exception):
    """A piece cannot be delivered, or nobody knows whether it was; the stream cannot go on."""


class JobGone(Exception):
    """The platform no longer knows the job: nothing more may be posted for it."""


@dataclass(frozen=True, slots=True)
class StreamSender:
    """What every job's stream shares: the platform, the addresses, the turns and the randomness of back-off."""

    platform: Platform
    addresses: protocol.Addresses
    turns: PostScheduler
    random: Callable[[], float]
    patience_s: float = PIECE_PATIENCE_S

    async def post_piece(self, job_id: str, value: bytes) -> None:
        """Deliver one piece within the turn that was taken for it. Raises StreamBroken or JobGone."""
        url, body = self.addresses.stream(job_id), protocol.stream_body(value)
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self.patience_s
        failures = 0
        while True:
            pause_s = 0.0
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
            pause_s = max(pause_s, BROKEN.delay_s(failures) * (0.5 + 0.5 * self.random()))
            if clock() + pause_s > give_up_at:
                raise StreamBroken(
                    f"the platform did not accept a piece of the stream for {self.patience_s:g} s: {reason}"
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
    """One job's pieces. `values` is the final result's content: every value of the job in order, as delivered, or
    nothing where they are more than a result may hold.

    While a piece is on its way, `put` holds its caller back after one more output, so that what the engine says
    meanwhile gathers in the engine's own connection and is read at once when the next piece may go.
    """

    def __init__(self, job_id: str, outbox: StreamSender) -> None:
        self._aggregate = Aggregate()
        self._job_id = job_id
        self._outbox = outbox
        self._is_sse = False
        self._waiting: deque[Output] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._complete = False
        self._first = True

    @property
    def values(self) -> list[bytes]:
        """The final result's content."""
        return self._aggregate.values

    async def put(self, output: Output) -> None:
        """Take over one output. Raises StreamBroken or JobGone once an earlier one could not be delivered."""
        if not output.streamed:
            self._aggregate.add(_value([output]))
            return
        self._is_sse = output.sse
        self._waiting.append(output)
        self._arrived.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name=f"stream {self._job_id}")
        if not self._may_read.is_set():
            await self._may_read.wait()
        if self._sender.done():
            await self._sender

    async def finish(self) -> None:
        """Return once every piece was accepted. Raises StreamBroken or JobGone."""
        self._complete = True
        self._arrived.set()
        if self._sender is not None:
            await self._sender

    async def break_off(self, last_words: bytes) -> None:
        """End a stream of server-sent events with these, which tell its error; others just end.

        Raises StreamBroken or JobGone.
        """
        if not self._is_sse or self._sender is None:
            return
        last = Output(last_words, sse=True, mergeable=True)
        if self._sender.done():
            await self._outbox.post_piece(self._job_id, _value([last]))
        else:
            self._waiting.append(last)
            await self.finish()

    def abandon(self) -> None:
        """Post nothing more; a POST on its way is cut off."""
        if self._sender is not None:
            self._sender.cancel()

    async def _send(self) -> None:
        turns = self._outbox.turns
        try:
            while await self._more():
                rested = not self._may_read.is_set()
                self._may_read.clear()
                waited = await turns.take(urgent=self._first)
                self._first = False
                try:
                    if rested or waited:
                        await self._gather()
                    await self._post_next()
                finally:
                    turns.give_back()
        finally:
            self._may_read.set()

    async def _gather(self) -> None:
        """Let the job read whatever the engine sent while nobody was reading."""
        self._may_read.set()
        for _ in range(GATHER_TURNS):
            await asyncio.sleep(0)
        self._may_read.clear()

    async def _post_next(self) -> None:
        value = _value(_merged(self._waiting))
        await self._outbox.post_piece(self._job_id, value)
        if self._aggregate.add(value):
            log.warning("job=%s its stream is longer than a result may be: job-done will not repeat it", self._job_id)

    async def _more(self) -> bool:
        while not self._waiting and not self._complete:
            self._may_read.set()
            self._arrived.clear()
            await self._arrived.wait()
        return bool(self._waiting)


def _merged(waiting: deque[Output]) -> list[Output]:
    """Cut the next piece off `waiting`: one output, or as many neighbouring mergeable ones as fit."""
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
