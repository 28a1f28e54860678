"""From a request to the engine steps that answer it; knows no route and no JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, groupby, repeat

from worker_vllm.engine.echo import tokens as vocabulary
from worker_vllm.engine.echo.scheduler import Scheduler
from worker_vllm.engine.echo.script import Script
from worker_vllm.errors import EngineError

FILLER = "."  # what an empty reply repeats when it must go on


class BrokenOff(Exception):
    """The script breaks the connection here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a sequence ends."""

    max_tokens: int
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    include_stop: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """What one engine step adds to one sequence. Text may lag behind the tokens while a stop string is possible."""

    index: int
    text: str
    tokens: tuple[int, ...]
    finish_reason: str | None = None
    stop_reason: str | None = None
    thought: bool = False  # the text is reasoning


@dataclass(frozen=True, slots=True)
class Generation:
    """One request: prompts, each answered by n sequences, all under the same limits and script."""

    prompts: tuple[tuple[int, ...], ...]
    replies: tuple[str, ...]  # of each prompt
    limits: Limits
    script: Script = field(default_factory=Script)
    n: int = 1
    separate_reasoning: bool = False  # the route has a place of its own for the script's reasoning

    @property
    def sequences(self) -> int:
        """How many answers this request has."""
        return len(self.prompts) * self.n

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))

    def deltas(self, index: int) -> Iterator[Delta]:
        """The steps of one sequence."""
        reply = self.script.text if self.script.text is not None else self.replies[index // self.n]
        if self.script.texts:
            reply = self.script.texts[index % self.n % len(self.script.texts)]
        thought = self.script.reasoning or ""
        if thought and not self.separate_reasoning:
            thought, reply = "", f"<think>{thought}</think>{reply}"
        return sequence(index, (thought, reply), self.limits)


def sequence(index: int, reply: tuple[str, str], limits: Limits) -> Iterator[Delta]:
    """One step per character, then one without text that counts as a token: the end token, as vLLM counts it.

    An answer that may not end yet (`ignore_eos`, `min_tokens`) starts over. A stop string is cut off unless asked
    for; text that may be the start of one is held back.
    """
    thought, text = reply
    hold = max(map(len, limits.stop), default=1) - 1
    held = ""
    endless = chain(zip(thought, repeat(True)), zip(chain(text, cycle(text or FILLER)), repeat(False)))
    length = len(thought) + len(text)
    for count, (character, thinking) in enumerate(endless, 1):
        if count > length and count > limits.min_tokens and not limits.ignore_eos:
            yield Delta(index, held, (vocabulary.END,), "stop")
            return
        held += character
        stopped = next((s for s in limits.stop if held.endswith(s)), None) if count > limits.min_tokens else None
        if stopped is not None:
            rest = held if limits.include_stop else held.removesuffix(stopped)
            yield Delta(index, rest, (ord(character),), "stop", stopped)
            return
        if count >= limits.max_tokens:
            yield Delta(index, held, (ord(character),), "length", thought=thinking)
            return
        ready = max(len(held) - hold, 0)
        yield Delta(index, held[:ready], (ord(character),), thought=thinking)
        held = held[ready:]


def merged(deltas: Sequence[Delta]) -> list[Delta]:
    """Several steps of one sequence as one; thought and answer stay apart."""
    if len(deltas) == 1:
        return list(deltas)
    parts = [list(part) for _, part in groupby(deltas, key=lambda delta: delta.thought)]
    return [
        Delta(
            part[-1].index,
            "".join(delta.text for delta in part),
            tuple(token for delta in part for token in delta.tokens),
            part[-1].finish_reason,
            part[-1].stop_reason,
            part[-1].thought,
        )
        for part in parts
    ]


@dataclass(slots=True)
class Gates:
    """Named gates: a scripted sequence takes one permit per token and waits while there is none."""

    permits: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def gate(self, name: str) -> asyncio.Semaphore:
        """The gate of that name, shut at first."""
        return self.permits.setdefault(name, asyncio.Semaphore(0))

    def release(self, name: str, tokens: int) -> None:
        """Let that many more tokens through."""
        for _ in range(tokens):
            self.gate(name).release()


@dataclass(slots=True)
class Runner:
    """Runs generations on the scheduler's slots, at the script's speed, with its failures."""

    scheduler: Scheduler
    gates: Gates = field(default_factory=Gates)
    exit: Callable[[int], object] = os._exit  # a script kills the process without a goodbye, as a crash would

    async def run(self, generation: Generation) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each engine step, sequences in order. Raises EngineError or BrokenOff where scripted."""
        script, scheduler = generation.script, self.scheduler
        async with scheduler.slots(generation.sequences):
            held = generation.prompt_tokens
            scheduler.prompt_tokens += held
            scheduler.held_tokens += held
            made = ended = 0
            try:
                await self._fail(script, made)
                await asyncio.sleep(script.ttft_ms / 1000)
                async for step in self._steps(generation):
                    yield step
                    count = sum(len(delta.tokens) for delta in step)
                    made, held = made + count, held + count
                    scheduler.held_tokens += count
                    scheduler.generation_tokens += count
                    reasons = [delta.finish_reason for delta in step if delta.finish_reason]
                    scheduler.finished.update(reasons)
                    ended += len(reasons)
                    await self._fail(script, made)
            finally:
                scheduler.held_tokens -= held
                scheduler.finished["abort"] += generation.sequences - ended

    async def _steps(self, generation: Generation) -> AsyncIterator[list[Delta]]:
        script = generation.script
        live: Mapping[int, Iterator[Delta]] = {i: generation.deltas(i) for i in range(generation.sequences)}
        first = True
        while live:
            parts: dict[int, list[Delta]] = {index: [] for index in live}
            for _ in range(script.merge):
                if not first or self.scheduler.step_s:
                    await self.scheduler.next_step(script.tpot_ms / 1000)
                first = False
                if script.gate is not None:
                    await self.gates.gate(script.gate).acquire()
                for index, deltas in live.items():
                    parts[index] += [delta for delta in (next(deltas, None),) if delta is not None]
                live = {i: d for i, d in live.items() if not parts[i] or parts[i][-1].finish_reason is None}
                if not live:
                    break
            yield [delta for part in parts.values() if part for delta in merged(part)]

    async def _fail(self, script: Script, made: int) -> None:
        """Whatever the script has for the moment at which this many tokens were made."""
        if script.exit_after is not None and made >= script.exit_after:
            self.exit(script.exit_code)
        if script.disconnect_after is not None and made >= script.disconnect_after:
            raise BrokenOff
        if script.fail_after is not None and made >= script.fail_after:
            raise EngineError(script.message)
        if script.hang_after is not None and made >= script.hang_after:
            await asyncio.Event().wait()
