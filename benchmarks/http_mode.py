"""Http mode beside the plain server of the same engine, and the reverse proxy of ENGINE_URL in front of that server.

The three take turns in every round, in another order each time, so that their ratios hold on any machine. A turn
begins when no target computes: a worker of vLLM's engine spins for a second after its last step (0.32.0,
`SpinCondition` in shm_broadcast.py), and takes a core from whoever is measured then. The plain server has the
worker's own arguments, no access log and no guard. `--engine vllm` needs the engine for CPU; the echo engine makes a
token of all streams every `--step-ms`, with 0 as fast as it can.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.cpu import cpu_s
from benchmarks.guard_cpu import guard_costs
from benchmarks.kept_clients import Load, apply
from benchmarks.stacks import REAL
from tests.support.engines.real import SETTINGS
from tests.support.http_mode import free_port, http_worker, serve_http
from tests.support.paths import PARROT
from tests.support.processes import running
from worker_vllm.engine.process.guard import descendants

READY_TIMEOUT_S = 300.0
IDLE_FOR_S, IDLE_CPU_S = 0.3, 0.015  # nothing computes: at most a clock tick of the kernel in so long
PLAIN, HTTP, PROXY = "plain server", "http mode", "ENGINE_URL proxy"


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and the processes whose CPU time is the front's: everything but the engine's own cores."""

    name: str
    port: int
    pid: int
    cores: frozenset[int] = frozenset()

    def pids(self) -> list[int]:
        """Its processes."""
        return [self.pid, *descendants(self.pid)]

    def front_cpu_s(self) -> float:
        """CPU time so far of the server's processes."""
        return sum(cpu_s(pid) for pid in self.pids() if pid not in self.cores)

    def cpu_s(self) -> float:
        """CPU time so far of all its processes."""
        return sum(cpu_s(pid) for pid in self.pids())


@dataclass(frozen=True, slots=True)
class Row:
    """One load at one server in one round."""

    target: str
    load: str
    requests_per_s: float
    tokens_per_s: float
    first_token_p50_ms: float
    answer_p50_ms: float
    cpu_us_per_request: float
    engine_us_per_request: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks http_mode", description=__doc__)
    parser.add_argument("--engine", choices=("echo", "vllm"), default="echo")
    parser.add_argument("--step-ms", type=float, default=5.0, help="of the echo engine")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one load at one server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    loads = [
        Load("one stream", 1, given.seconds, given.tokens, stream=True),
        Load(f"{given.clients} streams", given.clients, given.seconds, given.tokens, stream=True),
        Load(f"{given.clients} answers", given.clients, given.seconds, given.tokens, stream=False),
    ]
    costs = asyncio.run(guard_costs())
    with contextlib.ExitStack() as processes:
        targets = [processes.enter_context(server) for server in servers(given.engine, given.step_ms)]
        targets.append(processes.enter_context(proxy(targets[0])))
        rows = uvloop.run(measure(targets, loads, given.rounds))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(report(rows, loads))
    print("\n".join(f"{name}: {spent_us:.1f} us" for name, spent_us in costs.items()))
    if given.json:
        found = {"rows": [asdict(row) for row in rows], "guard": costs, "load": os.getloadavg()}
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def servers(engine: str, step_ms: float) -> list[contextlib.AbstractContextManager[Target]]:
    """The plain server and the worker in http mode, each with an engine of its own."""
    if engine == "vllm":
        return [plain_vllm(), worker({**SETTINGS, **REAL, "ENGINE": "vllm"})]
    return [plain_echo(step_ms), worker({"ECHO_STEP_MS": str(step_ms)})]


@contextlib.contextmanager
def plain_echo(step_ms: float) -> Iterator[Target]:
    """The echo engine on a port."""
    port = free_port()
    command = [sys.executable, "-m", "worker_vllm.echo", "--port", str(port), "--model", "parrot"]
    with running([*command, "--step-ms", str(step_ms)]) as process:
        process.line("echo engine: serving")
        yield Target(PLAIN, port, process.pid)


@contextlib.contextmanager
def plain_vllm() -> Iterator[Target]:
    """vLLM's server on a port, its processes forked as the worker forks them: only guard and worker differ."""
    port = free_port()
    command = [sys.executable, "-m", "worker_vllm.engine.child.launch", "serve", str(PARROT)]
    command += ["--served-model-name", "parrot", "--enforce-eager", "--disable-uvicorn-access-log"]
    command += ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    with running([*command, "--host", "127.0.0.1", "--port", str(port)], REAL) as process:
        process.line("Application startup complete", READY_TIMEOUT_S)
        yield Target(PLAIN, port, process.pid, cores_of(process.output()))


@contextlib.contextmanager
def worker(environment: dict[str, str]) -> Iterator[Target]:
    """A worker in http mode."""
    with serve_http(environment) as up:
        yield Target(HTTP, int(up.url.rpartition(":")[2]), up.process.pid, cores_of(up.process.output()))


def cores_of(output: str) -> frozenset[int]:
    """The processes of vLLM that are no front, by the names with which they sign their log lines."""
    return frozenset(int(pid) for pid in re.findall(r"\((?:EngineCore|Worker)\w* pid=(\d+)\)", output))


@contextlib.contextmanager
def proxy(behind: Target) -> Iterator[Target]:
    """A worker that starts no engine: its guard as a reverse proxy in front of the plain server."""
    with http_worker({"ENGINE_URL": f"http://127.0.0.1:{behind.port}"}) as found:
        asyncio.run(found.listening())
        yield Target(PROXY, found.port, found.process.pid)


async def measure(targets: list[Target], loads: list[Load], rounds: int) -> list[Row]:
    """Every load at every server in every round, after one round that does not count."""
    rows = []
    for count in range(rounds + 1):
        for load in loads:
            turn = count % len(targets)
            for target in [*targets[turn:], *targets[:turn]]:
                await idle(targets)
                row = await one(target, load)
                if count:
                    rows.append(row)
    return rows


async def idle(targets: list[Target]) -> None:
    """Wait until no target computes."""
    spent_s = 1.0
    while spent_s > IDLE_CPU_S:
        before_s = sum(target.cpu_s() for target in targets)
        await asyncio.sleep(IDLE_FOR_S)
        spent_s = sum(target.cpu_s() for target in targets) - before_s


async def one(target: Target, load: Load) -> Row:
    """One load at one server."""
    front_s, whole_s = target.front_cpu_s(), target.cpu_s()
    seen = await apply(load, target.port)
    front_s, whole_s = target.front_cpu_s() - front_s, target.cpu_s() - whole_s
    count = len(seen.answers_s)
    return Row(
        target.name,
        load.name,
        count / seen.wall_s,
        count * load.tokens / seen.wall_s,
        1000 * median(seen.first_tokens_s) if seen.first_tokens_s else 0.0,
        1000 * median(seen.answers_s),
        1e6 * front_s / count,
        1e6 * (whole_s - front_s) / count,
    )


def report(rows: list[Row], loads: list[Load]) -> str:
    """A table: the medians of the rounds, and of each round's ratio to the plain server."""
    lines = [
        "| load | server | requests/s | tokens/s | throughput × plain (rounds) | first token p50 | + over plain "
        "| answer p50 | CPU a request: front | engine's cores |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for load in loads:
        plain = [row for row in rows if (row.load, row.target) == (load.name, PLAIN)]
        for name in (PLAIN, HTTP, PROXY):
            found = [row for row in rows if (row.load, row.target) == (load.name, name)]
            ratios = [row.requests_per_s / base.requests_per_s for row, base in zip(found, plain, strict=True)]
            later = [row.first_token_p50_ms - base.first_token_p50_ms for row, base in zip(found, plain, strict=True)]
            lines.append(
                f"| {load.name} | {name} | {median(row.requests_per_s for row in found):.1f} "
                f"| {median(row.tokens_per_s for row in found):.0f} "
                f"| {median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) "
                f"| {median(row.first_token_p50_ms for row in found):.2f} ms | {median(later):+.2f} ms "
                f"| {median(row.answer_p50_ms for row in found):.1f} ms "
                f"| {median(row.cpu_us_per_request for row in found):.0f} us "
                f"| {median(row.engine_us_per_request for row in found):.0f} us |"
            )
    return "\n".join(lines)
