"""Jobs per second of a gateway with its file and without, in turns in one run, and its CPU per request.

The clients submit with `run`; workers of this process take the jobs in batches and end them at once, so that the
gateway is the bottleneck. A job is run, its share of a take, and done.
`--other PYTHON` is the interpreter of another checkout: its gateway, in memory, takes its turns too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.cpu import cpu_s
from benchmarks.record import Report, Table, add_output, deliver
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from tests.support.processes import Process, running

RUN = "/v2/local/run"


@dataclass(frozen=True, slots=True)
class Round:
    """One series of jobs at one gateway."""

    target: str
    jobs_per_s: float
    cpu_us_per_request: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway_store", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2_000, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--other", metavar="PYTHON", help="the interpreter of a checkout to compare with")
    add_output(parser)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        targets = {
            "in memory": stack.enter_context(gateway(sys.executable)),
            "with a file": stack.enter_context(gateway(sys.executable, "--db", str(directory / "state.db"))),
        }
        if given.other:
            targets["other checkout, in memory"] = stack.enter_context(gateway(given.other))
        rounds = uvloop.run(measure(targets, given))
    figures = [{name: getattr(each, name) for name in Round.__slots__} for each in rounds]
    deliver(Report("gateway_store", [results(rounds, list(targets))], figures), given)


def results(rounds: list[Round], names: list[str]) -> Table:
    """The medians, and each gateway's jobs per second beside those of the first, round by round."""
    of = {name: [each for each in rounds if each.target == name] for name in names}
    lines = []
    for name in names:
        rates = [each.jobs_per_s for each in of[name]]
        ratios = [each.jobs_per_s / first.jobs_per_s for each, first in zip(of[name], of[names[0]], strict=True)]
        cpu = median(each.cpu_us_per_request for each in of[name])
        lines.append([name, spread(rates, "{:.0f}"), spread(ratios, "{:.2f}"), f"{cpu:.0f} µs"])
    head = ["gateway", "jobs/s", f"/ {names[0]}", "CPU a request"]
    return Table(f"Medians of {len(of[names[0]])} rounds (lowest-highest)", head, lines)


def spread(values: list[float], form: str) -> str:
    """A median with its range."""
    return f"{form.format(median(values))} ({form.format(min(values))}-{form.format(max(values))})"


@contextlib.contextmanager
def gateway(python: str, *arguments: str) -> Iterator[tuple[Process, str]]:
    """A gateway process and its address."""
    waits = ["--set", "limits.queued_jobs=100000", *arguments]
    with running([python, "-m", "worker_vllm", "gateway", "--port", "0", *waits]) as process:
        url = process.line("gateway on ").split("gateway on ")[1].strip()
        yield process, url.removesuffix("/v2/local")


async def measure(targets: dict[str, tuple[Process, str]], given: argparse.Namespace) -> list[Round]:
    """The rounds of all targets in turns; the first of each warms up and is left out."""
    found: list[Round] = []
    async with contextlib.AsyncExitStack() as stack:
        https = {name: await stack.enter_async_context(Http(url)) for name, (_, url) in targets.items()}
        for number in range(given.rounds + 1):
            for name, (process, _) in targets.items():
                one = await play(name, https[name], process.pid, given)
                found += [one] if number else []
    return found


async def play(name: str, http: Http, pid: int, given: argparse.Namespace) -> Round:
    """Submit and run the jobs of one round."""
    left, requests = iter(range(given.jobs)), 0
    before, start = cpu_s(pid), time.perf_counter()
    ended = 0

    async def client() -> None:
        nonlocal requests
        for number in left:
            requests += 1
            if (await http.post(RUN, {"input": {"n": number}})).status != 200:
                raise RuntimeError("a job was refused")

    async def worker(worker_id: str) -> None:
        nonlocal requests, ended
        fake = FakeWorker(http, worker_id)
        while ended < given.jobs:
            requests += 1
            answer = await fake.take_batch(25)
            jobs = answer.json if answer.status == 200 else []
            await asyncio.gather(*(fake.done(job["id"], {"output": job["input"]}) for job in jobs))
            requests += len(jobs)
            ended += len(jobs)

    workers = [asyncio.create_task(worker(f"w{number}")) for number in range(2)]
    async with asyncio.TaskGroup() as clients:
        for _ in range(given.clients):
            clients.create_task(client())
    await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    wall_s = time.perf_counter() - start
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return Round(name, given.jobs / wall_s, (cpu_s(pid) - before) / requests * 1e6)
