"""What gateway and worker add to an empty job: the same completion asked of the echo engine and through the path.

In turn, direct and dispatched calls alternate, so that the added time is a difference of neighbours. 50 at once is a
closed loop: every client has one job on its way, so latency there is the path's capacity, given as jobs per second.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cpu import cpu_s, worker_pid
from benchmarks.measure import Call, Figures, at_once, figures, in_turn, table, timed, write
from tests.support.attached import gateway_process, worker_environment
from tests.support.http import Http
from tests.support.paths import SDK_PYTHON, SDK_WORKER
from tests.support.processes import running
from tests.support.stack import Stack, serve_echo

ASK = {"prompt": "x", "max_tokens": 1}
JOBS: dict[str, dict[str, Any]] = {
    "native job": {"input": {"prompt": "x", "sampling_params": {"max_tokens": 1}}},
    "openai job": {"input": {"openai_route": "/v1/completions", "openai_input": ASK}},
}


def arguments() -> argparse.Namespace:
    """How much to measure, and beside what."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks dispatch", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="calls in turn")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rival", help="an endpoint (http://host:port/v2/ID) of another worker over an echo engine")
    parser.add_argument("--sdk", action="store_true", help="measure a job that does nothing on the official SDK too")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    with serve_echo() as stack:
        rows = asyncio.run(measure(stack, given))
        if given.sdk:
            with sdk_endpoint() as url:
                rows += asyncio.run(measure_sdk(url, given))
        pids = {"gateway": stack.process.pid, "worker": worker_pid(stack.process.pid)}
        spent = asyncio.run(cpu_per_job(stack, pids, given))
    print(table(rows))
    print("\n".join(f"{name}: {spent_ms:.2f} ms CPU a job" for name, spent_ms in spent.items()))
    if given.json:
        write(given.json, "dispatch", rows)


async def measure(stack: Stack, given: argparse.Namespace) -> list[Figures]:
    """All series, one after the other, on warm connections."""
    rows: list[Figures] = []
    async with Http(stack.engine_url) as engine, Http(stack.url) as endpoint:
        ask = _call(engine, "/v1/completions", ASK)
        for name, job in JOBS.items():
            rows += await _in_turn(name, ask, _call(endpoint, "/runsync", job), given.count)
        per_client = max(1, given.count // given.clients)
        rows.append(await at_once(f"engine, {given.clients} at once", ask, given.clients, per_client))
        for name, job in JOBS.items():
            call = _call(endpoint, "/runsync", job)
            rows.append(await at_once(f"{name}, {given.clients} at once", call, given.clients, per_client))
    if given.rival:
        async with Http(given.rival) as rival, Http(stack.engine_url) as engine:
            ask = _call(engine, "/v1/completions", ASK)
            call = _call(rival, "/runsync", JOBS["openai job"])
            rows += await _in_turn("rival's openai job", ask, call, given.count)
            rows.append(await at_once(f"rival, {given.clients} at once", call, given.clients, per_client))
    return rows


@contextmanager
def sdk_endpoint() -> Iterator[str]:
    """A worker on the official SDK, in its own environment, without an engine: the endpoint's address."""
    with gateway_process() as url, tempfile.TemporaryDirectory() as home:
        quiet = dict.fromkeys(("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"), "true")
        environment = {**worker_environment(url, "sdk"), **quiet, "RUNPOD_LOG_LEVEL": "INFO", "HOME": home}
        with running([str(SDK_PYTHON), str(SDK_WORKER)], environment):
            yield url


async def measure_sdk(url: str, given: argparse.Namespace) -> list[Figures]:
    """A job without any work: all of its time is the SDK's and the gateway's."""
    async with Http(url) as endpoint:
        call = _call(endpoint, "/runsync", {"input": {"steps": [{"say": {}}]}})
        await call()
        return [
            await in_turn("SDK's empty job, in turn", call, max(1, given.count // 5)),
            await at_once(f"SDK's empty job, {given.clients} at once", call, given.clients, 2),
        ]


async def cpu_per_job(stack: Stack, pids: dict[str, int], given: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of CPU that one OpenAI job costs each process, many at once."""
    async with Http(stack.url) as endpoint:
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        call = _call(endpoint, "/runsync", JOBS["openai job"])
        await at_once("cpu", call, given.clients, max(1, 1000 // given.clients))
        return {name: cpu_s(pid) - before[name] for name, pid in pids.items()}


def _call(http: Http, path: str, body: dict[str, Any]) -> Call:
    async def call() -> None:
        answer = await http.post(path, body)
        if answer.status != 200 or answer.json.get("status", "COMPLETED") != "COMPLETED":
            raise RuntimeError(f"{path}: HTTP {answer.status}: {answer.body[:500]!r}")

    return call


async def _in_turn(name: str, direct: Call, dispatched: Call, count: int) -> list[Figures]:
    """Direct, dispatched, and what the second took longer than the first, pair by pair."""
    for _ in range(20):
        await direct()
        await dispatched()
    start = time.perf_counter()
    pairs = [(await timed(direct), await timed(dispatched)) for _ in range(count)]
    wall_s = time.perf_counter() - start
    return [
        figures(f"engine, beside {name}", [a for a, _ in pairs], wall_s),
        figures(f"{name}, in turn", [b for _, b in pairs], wall_s),
        figures(f"{name}, added", [b - a for a, b in pairs], wall_s),
    ]
