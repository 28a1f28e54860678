"""What gateway and worker add to an empty job: the same completion asked of the echo engine and through the path.

In turn, direct and dispatched calls alternate, so that the added time is a difference of neighbours. 50 at once is a
closed loop: every client has one job on its way, so latency there is the path's capacity, given as jobs per second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.measure import Figures, figures, table
from benchmarks.record import Report, Table, add_output, deliver, original_version
from benchmarks.stacks import ENGINE, ORIGINAL, engine_alone, original_over_echo, queue_over_echo
from tests.support.attached import gateway_process, worker_environment
from tests.support.http import Http
from tests.support.paths import SDK_PYTHON, SDK_WORKER
from tests.support.processes import running
from worker_vllm.bench.load_plan import LoadPlan, PlannedRequest
from worker_vllm.bench.rounds import ASK, BuiltInGenerator, RoundProgress
from worker_vllm.bench.samples import Sample
from worker_vllm.bench.targets import BenchTarget, TargetKind
from worker_vllm.bench.visible_processes import listeners, usage, used
from worker_vllm.simulation.arrivals import FixedLength

NATIVE, OPENAI = "native job", "OpenAI job"
ONE = LoadPlan(1, 1, None, FixedLength(1), FixedLength(1), chat=False, stream=False)
REQUEST = PlannedRequest(0.0, "x", 1)
WARM = 20
TIMEOUT_S = 60.0
EMPTY_JOB: dict[str, Any] = {"input": {"steps": [{"say": {}}]}}  # of the worker on the SDK: it does nothing


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks dispatch", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="calls in turn")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--original", type=Path, metavar="DIR", help="the original worker, by benchmarks/original.sh")
    parser.add_argument("--sdk", action="store_true", help="measure a job that does nothing on the official SDK too")
    add_output(parser)
    given = parser.parse_args()
    with contextlib.ExitStack() as parts:
        engine = parts.enter_context(engine_alone(0.0)).target
        ours = parts.enter_context(queue_over_echo(0.0))
        targets = ours_as(ours.target)
        if given.original:
            original = parts.enter_context(original_over_echo(given.original.resolve(), 0.0)).target
            targets.append(replace(original, name=f"the {ORIGINAL}'s {OPENAI}"))
        rows = asyncio.run(measure(engine, targets, given))
        if given.sdk:
            rows += asyncio.run(measure_sdk(parts.enter_context(sdk_endpoint()), given))
        spent = asyncio.run(cpu_per_job(targets[1], [process.pid for process in ours.processes], given.clients))
    tables = [
        table(f"One call at a time, and {given.clients} clients in a closed loop", rows),
        Table(
            f"CPU of an {OPENAI}, {given.clients} at once",
            ["process", "ms a job"],
            [[name, f"{ms:.2f}"] for name, ms in spent.items()],
        ),
    ]
    found = {"calls": [asdict(row) for row in rows], "cpu_ms_per_job": spent}
    deliver(Report("dispatch", tables, found, original_version(given.original)), given)


def ours_as(target: BenchTarget) -> list[BenchTarget]:
    """This worker's endpoint, asked by native jobs and by OpenAI routes."""
    endpoint = target.url.removesuffix("/openai/v1")
    return [BenchTarget(NATIVE, TargetKind.JOBS, endpoint), replace(target, name=OPENAI)]


async def measure(engine: BenchTarget, targets: Sequence[BenchTarget], given: argparse.Namespace) -> list[Figures]:
    """All series, one after the other, on warm connections."""
    rows: list[Figures] = []
    for target in targets:
        rows += await in_turn(engine, target, given.count)
    for target in (engine, *targets):
        rows.append(await at_once(target, given.clients, given.count))
    return rows


async def in_turn(engine: BenchTarget, target: BenchTarget, count: int) -> list[Figures]:
    """Direct, dispatched, and what the second took longer than the first, pair by pair."""
    async with session(engine) as direct, session(target) as dispatched:
        for _ in range(WARM):
            await took(direct, engine)
            await took(dispatched, target)
        start = time.perf_counter()
        pairs = [(await took(direct, engine), await took(dispatched, target)) for _ in range(count)]
        wall_s = time.perf_counter() - start
    return [
        figures(f"{ENGINE}, beside {target.name}", [a for a, _ in pairs], wall_s),
        figures(f"{target.name}, in turn", [b for _, b in pairs], wall_s),
        figures(f"{target.name}, added", [b - a for a, b in pairs], wall_s),
    ]


async def at_once(target: BenchTarget, clients: int, count: int) -> Figures:
    """So many clients, each with its calls one after the other."""
    generator = BuiltInGenerator(TIMEOUT_S, RoundProgress())
    await generator.send(target, replace(ONE, requests=clients, concurrency=clients), 0)
    start = time.perf_counter()
    samples = await generator.send(target, replace(ONE, requests=max(count, clients), concurrency=clients), 1)
    wall_s = time.perf_counter() - start
    return figures(f"{target.name}, {clients} at once", [duration(target, sample) for sample in samples], wall_s)


@asynccontextmanager
async def session(target: BenchTarget) -> AsyncIterator[aiohttp.ClientSession]:
    """Kept connections to a target."""
    connector = aiohttp.UnixConnector(target.socket) if target.socket else aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as found:
        yield found


async def took(http: aiohttp.ClientSession, target: BenchTarget) -> float:
    """Seconds of one call."""
    return duration(target, await ASK[target.kind](http, target, ONE, REQUEST))


def duration(target: BenchTarget, sample: Sample) -> float:
    """Seconds of a call that succeeded. Raises RuntimeError for any other."""
    if sample.failure or sample.ended_at is None:
        raise RuntimeError(f"{target.name}: {sample.failure or 'no end'}")
    return sample.ended_at - sample.asked_at


@contextmanager
def sdk_endpoint() -> Iterator[str]:
    """A worker on the official SDK, in its own environment, without an engine: the endpoint's address."""
    with gateway_process() as url, tempfile.TemporaryDirectory() as home:
        quiet = dict.fromkeys(("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"), "true")
        environment = {**worker_environment(url, "sdk"), **quiet, "RUNPOD_LOG_LEVEL": "INFO", "HOME": home}
        with running([str(SDK_PYTHON), str(SDK_WORKER)], environment):
            yield url


async def measure_sdk(url: str, given: argparse.Namespace) -> list[Figures]:
    """A job without any work: all of its time is the SDK's and the gateway's. No client of bench has such a job."""
    async with Http(url) as endpoint:

        async def call() -> float:
            start = time.perf_counter()
            answer: Any = (await endpoint.post("/runsync", EMPTY_JOB)).json
            if answer.get("status") != "COMPLETED":
                raise RuntimeError(f"the SDK's empty job: {answer}")
            return time.perf_counter() - start

        async def client() -> list[float]:
            return [await call(), await call()]

        await call()
        start = time.perf_counter()
        alone = [await call() for _ in range(max(1, given.count // 5))]
        middle = time.perf_counter()
        together = await asyncio.gather(*(client() for _ in range(given.clients)))
        end = time.perf_counter()
    return [
        figures("SDK's empty job, in turn", alone, middle - start),
        figures(
            f"SDK's empty job, {given.clients} at once", [one for each in together for one in each], end - middle
        ),
    ]


async def cpu_per_job(target: BenchTarget, workers: Sequence[int], clients: int) -> dict[str, float]:
    """Milliseconds of CPU that one job costs each process, many at once."""
    roots = [*listeners(target), *workers]
    plan = replace(ONE, requests=1000, concurrency=clients)
    before = usage(roots)
    samples = await BuiltInGenerator(TIMEOUT_S, RoundProgress()).send(target, plan, 2)
    return {name: 1000 * seconds / len(samples) for name, seconds in used(before, usage(roots)).items()}
