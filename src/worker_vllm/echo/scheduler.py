"""Slots, the waiting line, the common step and the counters behind /metrics."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from worker_vllm.echo.generation import Delta
from worker_vllm.errors import Overloaded

CHUNK_S = 0.05  # how long one chunk of a long prompt takes
FULL = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
)


@dataclass(slots=True)
class Running:
    """One request that holds slots; counts its tokens into the engine's."""

    scheduler: Scheduler
    made: int = 0
    ended: int = 0
    read: int = 0

    async def prefill(self, prompt_tokens: int, seconds: float) -> None:
        """Read the prompt in chunks. As in vLLM 0.32, only the use of the cache moves before it is read whole."""
        scheduler = self.scheduler
        chunks = int(seconds / CHUNK_S) + 1
        for chunk in range(1, chunks + 1):
            await asyncio.sleep(seconds / chunks)
            await scheduler.thawed()
            added = prompt_tokens * chunk // chunks - self.read
            self.read += added
            scheduler.held_tokens += added
        scheduler.prompt_tokens += prompt_tokens

    def count(self, step: Sequence[Delta]) -> None:
        """Count one engine step."""
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
    """Who runs and who waits. A request with n sequences takes n slots, or all there are."""

    max_num_seqs: int = 256
    max_unfinished: int | None = None  # as vLLM's max_num_queued_reqs: running and waiting together
    step_s: float = 0.0  # every running sequence steps at these times, all together
    kv_tokens: int = 1_000_000
    running: int = 0
    held_tokens: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    frozen: bool = False  # as a stopped engine core: the server answers, no request moves or is counted
    finished: Counter[str] = field(default_factory=Counter)
    _line: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)
    _stepping: list[asyncio.Future[None]] = field(default_factory=list)
    _step_at: float = 0.0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def waiting(self) -> int:
        """Sequences that have no slot yet."""
        return sum(count for count, _ in self._line)

    @property
    def kv_usage(self) -> float:
        """Share of the cache in use, 0 to 1."""
        return min(1.0, self.held_tokens / self.kv_tokens)

    def admit(self, sequences: int) -> None:
        """Raise Overloaded when the line is full, in vLLM 0.32's words."""
        if self.max_unfinished is not None and self.running + self.waiting + sequences > self.max_unfinished:
            raise Overloaded(FULL)

    @asynccontextmanager
    async def request(self, sequences: int) -> AsyncIterator[Running]:
        """Hold the slots of one request; leaving, however it happens, frees them and its cache at once."""
        wanted = min(sequences, self.max_num_seqs)
        await self.thawed()
        await self._acquire(wanted)
        running = Running(self)
        try:
            yield running
        finally:
            self.held_tokens -= running.read + running.made
            self.finished["abort"] += sequences - running.ended
            self.running -= wanted
            self._grant()

    async def _acquire(self, wanted: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (wanted, turn)
        self._line.append(place)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted in the same loop turn as the caller went away
                self.running -= wanted
            else:
                self._line.remove(place)
            self._grant()
            raise

    def _grant(self) -> None:
        """Let the head of the line in, in order, as far as there is room."""
        while self._line and self.running + self._line[0][0] <= self.max_num_seqs:
            wanted, turn = self._line.popleft()
            self.running += wanted
            turn.set_result(None)
        self._changed.set()
        self._changed = asyncio.Event()

    async def next_step(self, tpot_s: float) -> None:
        """Return when the next token is due; without a speed, after the loop had its turn."""
        if not self.step_s:
            await asyncio.sleep(tpot_s)
            return
        loop = asyncio.get_running_loop()
        if not self._stepping:
            # A timer may fire a moment early; the step that it made must not be made again.
            self._step_at = max(self._step_at, loop.time() // self.step_s * self.step_s) + self.step_s
            loop.call_at(self._step_at, self._step)
        due: asyncio.Future[None] = loop.create_future()
        self._stepping.append(due)
        await due

    def _step(self) -> None:
        due, self._stepping = self._stepping, []
        for future in due:
            if not future.done():  # its request was aborted meanwhile
                future.set_result(None)

    def freeze(self, frozen: bool) -> None:
        """Stop every request where it is, or let them go on."""
        self.frozen = frozen
        self._grant()

    async def thawed(self) -> None:
        """Return at once unless the scheduler is frozen; then once it no longer is."""
        while self.frozen:
            await self._changed.wait()

    async def until(self, condition: Callable[[Scheduler], bool]) -> None:
        """Return once the condition on this scheduler's running and waiting counts holds."""
        while not condition(self):
            await self._changed.wait()
