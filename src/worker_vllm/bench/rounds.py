"""Rounds at several targets in alternation, so that what else the machine does favours none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

import aiohttp

from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest, planned_requests
from worker_vllm.bench.native_jobs import ask_jobs
from worker_vllm.bench.openai_requests import ask_openai, headers
from worker_vllm.bench.samples import RoundFigures, Sample, round_figures
from worker_vllm.bench.targets import BenchTarget, TargetKind
from worker_vllm.bench.visible_processes import listeners, usage, used
from worker_vllm.bench.vllm_generator import send_by_vllm

Ask = Callable[[aiohttp.ClientSession, BenchTarget, LoadPlan, PlannedRequest], Awaitable[Sample]]
ASK: dict[TargetKind, Ask] = {TargetKind.OPENAI: ask_openai, TargetKind.JOBS: ask_jobs}
SETTLE_S = 0.3  # the last results of a round are delivered within it, so that their CPU time counts


class Site:
    """What surrounds one round at one target; the base class watches the processes that listen at its address.

    A suite that starts a target for its rounds only, or that knows more of its processes, has a subclass.
    """

    async def enter(self, target: BenchTarget) -> list[int]:
        """Before a round: the process ids whose CPU time counts, with their descendants."""
        return listeners(target)

    async def leave(self, target: BenchTarget, round_number: int) -> None:
        """After a round, whether it succeeded or not."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often each target is measured, how many requests warm it up, and what surrounds a round."""

    rounds: int
    warmup_requests: int
    site: Site = field(default_factory=Site)


class RoundProgress:
    """Receives the start of each round and the end of each request; the base class shows nothing."""

    def begin(self, target: str, round_number: int, requests: int) -> None:
        """A round begins; round 0 is the warm-up."""

    def ended(self) -> None:
        """One request has ended."""


class Generator(Protocol):
    """Sends one round's requests."""

    async def send(self, target: BenchTarget, plan: LoadPlan, round_number: int) -> list[Sample]:
        """The samples of the round's requests. Raises RuntimeError where it cannot work at all."""


async def measure(
    targets: Sequence[BenchTarget], plan: LoadPlan, schedule: Schedule, generator: Generator, progress: RoundProgress
) -> list[RoundFigures]:
    """Warm every target up, then measure them in turns, the order reversed in every second round."""
    found = []
    warm = replace(plan, requests=schedule.warmup_requests, rate=None)
    for target in targets:
        if schedule.warmup_requests:
            progress.begin(target.name, 0, warm.requests)
            await generator.send(target, warm, 0)
    for number in range(1, schedule.rounds + 1):
        for target in targets if number % 2 else list(reversed(targets)):
            progress.begin(target.name, number, plan.requests)
            try:
                roots = await schedule.site.enter(target)
                before = usage(roots)
                samples = await generator.send(target, plan, number)
                await asyncio.sleep(SETTLE_S)
                found.append(round_figures(target.name, number, samples, used(before, usage(roots))))
            finally:
                await schedule.site.leave(target, number)
    return found


class BuiltInGenerator:
    """Sends requests from this process: every kind of target, streamed or not, ages of stamped tokens too."""

    def __init__(self, timeout_s: float, progress: RoundProgress) -> None:
        self._timeout_s = timeout_s
        self._progress = progress

    async def send(self, target: BenchTarget, plan: LoadPlan, round_number: int) -> list[Sample]:
        """The samples, in the order in which the requests were planned."""
        requests = planned_requests(plan, round_number)
        samples: list[Sample | None] = [None] * len(requests)
        pending = iter(enumerate(requests))
        began = asyncio.get_running_loop().time()
        async with _session(target, plan.concurrency, self._timeout_s) as session, asyncio.TaskGroup() as tasks:
            for _ in range(min(plan.concurrency, len(requests))):
                tasks.create_task(self._client(session, target, plan, _Round(pending, samples, began)))
        return [sample for sample in samples if sample is not None]

    async def _client(
        self, session: aiohttp.ClientSession, target: BenchTarget, plan: LoadPlan, work: _Round
    ) -> None:
        """Send one request after the other until none is left."""
        loop = asyncio.get_running_loop()
        for position, request in work.pending:
            if plan.rate:
                await asyncio.sleep(max(0.0, work.began + request.at_s - loop.time()))
            work.samples[position] = await ASK[target.kind](session, target, plan, request)
            self._progress.ended()


class VllmBenchGenerator:
    """Sends each round by `vllm bench serve`."""

    def __init__(self, tokenizer: str, timeout_s: float) -> None:
        self._tokenizer = tokenizer
        self._timeout_s = timeout_s

    async def send(self, target: BenchTarget, plan: LoadPlan, round_number: int) -> list[Sample]:
        """The samples of the round."""
        requests = planned_requests(plan, round_number)
        return await send_by_vllm(target, plan, requests, self._tokenizer, self._timeout_s)


@dataclass(frozen=True, slots=True)
class _Round:
    """What the clients of one round share."""

    pending: Iterator[tuple[int, PlannedRequest]]
    samples: list[Sample | None]
    began: float


async def with_models(targets: Sequence[BenchTarget], timeout_s: float) -> list[BenchTarget]:
    """The targets, each with a model: the first that it lists. Raises RuntimeError where it lists none."""
    found = []
    for target in targets:
        if target.model or target.kind is TargetKind.JOBS:
            found.append(target)
            continue
        try:
            async with _session(target, 1, timeout_s) as session:
                async with session.get(f"{target.url}/models", headers=headers(target)) as answer:
                    answer.raise_for_status()
                    listed = await answer.json(content_type=None)
            found.append(replace(target, model=str(listed["data"][0]["id"])))
        except (aiohttp.ClientError, OSError, LookupError, TypeError, ValueError) as error:
            raise RuntimeError(
                f"{target.name}: {target.url}/models lists no model ({error}); start the target, or pass --model"
            ) from None
    return found


@asynccontextmanager
async def _session(target: BenchTarget, connections: int, timeout_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(target.socket, limit=connections) if target.socket else aiohttp.TCPConnector(limit=0)
    )
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 18) as session:
        yield session
