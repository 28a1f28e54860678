"""Runs generations on the scheduler's slots, with the speed and the failures of their scripts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

from worker_vllm.echo.generation import Delta, Generation, merge_deltas
from worker_vllm.echo.scheduler import RunningRequest, Scheduler
from worker_vllm.echo.script import Script
from worker_vllm.errors import EngineError


class ScriptedDisconnect(Exception):
    """The script disconnects at this point."""


def no_report(generation: Generation, request: RunningRequest | None) -> None:
    """The report of an engine without a worker: nothing."""


@dataclass(slots=True)
class Gates:
    """Named gates: a scripted request needs one permit per token and waits while there is none."""

    permits: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def gate(self, name: str) -> asyncio.Semaphore:
        """The gate of that name, created without permits."""
        return self.permits.setdefault(name, asyncio.Semaphore(0))

    def release(self, name: str, tokens: int) -> None:
        """Add permits for that many tokens."""
        for _ in range(tokens):
            self.gate(name).release()


@dataclass(slots=True)
class Runner:
    """Runs every generation of one engine."""

    scheduler: Scheduler
    gates: Gates = field(default_factory=Gates)
    exit: Callable[[int], object] = os._exit  # a script exits the process without cleaning up, like a crash
    report: Callable[[Generation, RunningRequest | None], None] = no_report  # of each request that is over

    async def run(self, generation: Generation) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each engine step, by sequence. Raises EngineError or ScriptedDisconnect as scripted."""
        script = generation.script
        first_failure = script.first_failure
        request: RunningRequest | None = None
        try:
            async with self.scheduler.request(generation.sequences) as request:
                if first_failure == 0:
                    await self._fail(script, 0)
                await request.prefill(generation.prompt_tokens, script.ttft_ms / 1000)
                async for step in self._steps(generation):
                    yield step
                    request.count(step)
                    if request.made >= first_failure:
                        await self._fail(script, request.made)
        finally:
            self.report(generation, request)

    async def _steps(self, generation: Generation) -> AsyncIterator[list[Delta]]:
        script, scheduler = generation.script, self.scheduler
        gate = None if script.gate is None else self.gates.gate(script.gate)
        live = [generation.deltas(index) for index in range(generation.sequences)]
        prefilled = True  # the prefill makes the first token, unless all sequences step together
        while live:
            step: list[Delta] = []
            for _ in range(script.merge):
                if scheduler.step_s or not prefilled:
                    await scheduler.next_step(script.tpot_ms / 1000)
                prefilled = False
                if scheduler.frozen:
                    await scheduler.wait_unfrozen()
                if gate is not None:
                    await gate.acquire()
                made = [next(deltas) for deltas in live]
                step += made
                if any(delta.finish_reason for delta in made):
                    live = [deltas for deltas, delta in zip(live, made, strict=True) if not delta.finish_reason]
                    if not live:
                        break
            yield step if script.merge == 1 else merge_deltas(step)

    async def _fail(self, script: Script, made: int) -> None:
        """Fail as scripted for this number of tokens."""
        if script.exit_after is not None and made >= script.exit_after:
            self.exit(script.exit_code)
        if script.disconnect_after is not None and made >= script.disconnect_after:
            raise ScriptedDisconnect
        if script.fail_after is not None and made >= script.fail_after:
            raise EngineError(script.message)
        if script.hang_after is not None and made >= script.hang_after:
            await asyncio.Event().wait()
