"""The echo engine's scheduler: slots, the queue, common steps, and the counters behind /metrics."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from worker_vllm.echo.generation import Delta
from worker_vllm.errors import Overloaded

CHUNK_S = 0.05  # duration of one chunk of a prefill
FULL = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)


@dataclass(slots=True)
class RunningRequest:
    """One request that holds slots; adds its tokens to the scheduler's counters."""

    scheduler: Scheduler
    made: int = 0
    ended: int = 0
    read: int = 0
    prefilled: bool = False

    async def prefill(self, prompt_tokens: int, seconds: float) -> None:
        """Process the prompt in chunks. As in vLLM 0.32, until the last chunk only the cache usage changes."""
        scheduler = self.scheduler
        chunks = int(seconds / CHUNK_S) + 1
        for chunk in range(1, chunks + 1):
            await asyncio.sleep(seconds / chunks)
            await scheduler.wait_unfrozen()
            added = prompt_tokens * chunk // chunks - self.read
            self.read += added
            scheduler.held_tokens += added
        scheduler.prompt_tokens += prompt_tokens
        self.prefilled = True

    def count(self, step: Sequence[Delta]) -> None:
        """Count the tokens of one engine step."""
        for delta in step:
            count = len(delta.tokens)
            self.made += count
            self.scheduler.held_tokens += count
            self.scheduler.generation_tokens += count
            if delta.finish_reason is not None:
                self.scheduler.finished[delta.finish_reason] += 1
                self.ended += 1


@dataclass(slots=True)
class Scheduler:
    """Assigns slots to requests in order. A request with n sequences takes n slots, or all there are."""

    max_num_seqs: int = 256
    max_unfinished: int | None = None  # as vLLM's max_num_queued_reqs: running and waiting together
    step_s: float = 0.0  # interval at which all running sequences step together; 0: each steps on its own
    kv_tokens: int = 1_000_000
    running: int = 0
    held_tokens: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    frozen: bool = False  # like a stopped engine core: the server answers, no request proceeds or is counted
    finished: Counter[str] = field(default_factory=Counter)
    _queue: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)
    _stepping: list[asyncio.Future[None]] = field(default_factory=list)
    _step_at: float = 0.0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def waiting(self) -> int:
        """Number of sequences that have no slot yet."""
        return sum(count for count, _ in self._queue)

    @property
    def kv_usage(self) -> float:
        """Fraction of the KV cache in use, 0 to 1."""
        return min(1.0, self.held_tokens / self.kv_tokens)

    def admit(self, sequences: int) -> None:
        """Raises Overloaded with vLLM 0.32's message when the queue is full."""
        if self.max_unfinished is not None and self.running + self.waiting + sequences > self.max_unfinished:
            raise Overloaded(FULL)

    @asynccontextmanager
    async def request(self, sequences: int) -> AsyncIterator[RunningRequest]:
        """Hold the slots of one request; the exit frees them and its cache."""
        wanted = min(sequences, self.max_num_seqs)
        await self.wait_unfrozen()
        await self._acquire(wanted)
        running = RunningRequest(self)
        try:
            yield running
        finally:
            self.held_tokens -= running.read + running.made
            self.finished["abort"] += sequences - running.ended
            self.running -= wanted
            self._grant()

    async def _acquire(self, wanted: int) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, granted)
        self._queue.append(entry)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():  # granted in the same loop iteration as the cancellation
                self.running -= wanted
            else:
                self._queue.remove(entry)
            self._grant()
            raise

    def _grant(self) -> None:
        """Give slots to the first requests of the queue while there are enough."""
        while self._queue and self.running + self._queue[0][0] <= self.max_num_seqs:
            wanted, granted = self._queue.popleft()
            self.running += wanted
            granted.set_result(None)
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_step(self, tpot_s: float) -> None:
        """Wait until the next token is due; at least one iteration of the event loop."""
        if not self.step_s:
            await asyncio.sleep(tpot_s)
            return
        loop = asyncio.get_running_loop()
        if not self._stepping:
            # A timer may fire slightly early; the next step must be a whole interval after the last one.
            self._step_at = max(self._step_at, loop.time() // self.step_s * self.step_s) + self.step_s
            loop.call_at(self._step_at, self._step)
        due: asyncio.Future[None] = loop.create_future()
        self._stepping.append(due)
        await due

    def _step(self) -> None:
        due, self._stepping = self._stepping, []
        for future in due:
            if not future.done():  # its request was aborted
                future.set_result(None)

    def freeze(self, frozen: bool) -> None:
        """Suspend all requests, or resume them."""
        self.frozen = frozen
        self._grant()

    async def wait_unfrozen(self) -> None:
        """Wait while the scheduler is frozen."""
        while self.frozen:
            await self._changed.wait()

    async def wait_for(self, condition: Callable[[Scheduler], bool]) -> None:
        """Wait until the condition on this scheduler's running and waiting counts holds."""
        while not condition(self):
            await self._changed.wait()
