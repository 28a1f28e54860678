"""Does the simulation predict the gateway's real fleet? The same load on both, with the echo engine.

What the simulation is told beside the settings was measured on an idle worker before the load: the seconds of a cold
start, and what worker and gateway add to one job.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import aiohttp
import uvloop

from tests.support.processes import running
from tests.support.stack import LOCAL
from worker_vllm.gateway.fleet.scaling import ScalerType, ScalingPolicy
from worker_vllm.simulation.arrivals import Arrival, RateStep, UniformLength, poisson_arrivals
from worker_vllm.simulation.endpoint_model import SimulatedEndpoint, simulate
from worker_vllm.simulation.service_curve import stepping_engine
from worker_vllm.simulation.worker_model import WindowLimit

DECISION_S = 0.1  # local/fleet/fleet.py
IDLE_TIMEOUT_S = 2.0
SEQUENCES = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """What is compared; seconds."""

    delay_mean: float
    latency_mean: float
    latency_p95: float
    worker_s: float


def main() -> None:
    """Measure, simulate, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks fleet_prediction", description=__doc__)
    parser.add_argument("--step-ms", type=float, default=20.0)
    parser.add_argument("--max-workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    low, high = 1.5, 6.0  # jobs a second: within one worker's reach, and beyond it
    steps = [RateStep(0, low), RateStep(given.seconds / 3, high), RateStep(2 * given.seconds / 3, low)]
    lengths = UniformLength(40, 120)
    load = list(poisson_arrivals(steps, given.seconds, UniformLength(1, 1), lengths, given.seed))
    for scaler, value in ((ScalerType.REQUEST_COUNT, float(SEQUENCES)), (ScalerType.QUEUE_DELAY, 1.0)):
        policy = ScalingPolicy(1, given.max_workers, scaler, value, IDLE_TIMEOUT_S)
        show(policy, *uvloop.run(both(policy, load, given.step_ms / 1000)))


def show(policy: ScalingPolicy, measured: Figures, simulated: Figures) -> None:
    """One line for each figure."""
    print(f"{policy.scaler} {policy.value:g}, workers {policy.min_workers}-{policy.max_workers}")
    for name, value in asdict(measured).items():
        guess = asdict(simulated)[name]
        ratio = guess / value if value else float("nan")
        print(f"  {name:<14} measured {value:8.3f}  simulated {guess:8.3f}  ratio {ratio:.2f}")


async def both(policy: ScalingPolicy, load: Sequence[Arrival], step_s: float) -> tuple[Figures, Figures]:
    """The load on a real fleet, then in the simulation with that fleet's measured cold start and overhead."""
    options = {
        "scaling.scaler": str(policy.scaler),
        "scaling.value": str(policy.value),
        "scaling.idle_timeout_s": str(policy.idle_timeout_s),
    }
    command = [*LOCAL, "--engine", "echo", "--ephemeral", "--workers", f"{policy.min_workers}:{policy.max_workers}"]
    for name, value in options.items():
        command += ["--set", f"{name}={value}"]
    with tempfile.TemporaryDirectory() as directory:
        environment = {"ECHO_STEP_MS": str(1000 * step_s), "MAX_NUM_SEQS": str(SEQUENCES), "TMPDIR": directory}
        with running(command, environment) as process:
            url = process.line("Ready: ").split("Ready: ")[1].strip()
            async with aiohttp.ClientSession() as session:
                overhead_s = await idle_overhead(session, url, step_s)
                measured, cold_start_s = await measure(session, url, load)
    curve = stepping_engine(step_s, SEQUENCES, overhead_s)
    endpoint = SimulatedEndpoint(
        policy, curve, lambda: WindowLimit(300, SEQUENCES), cold_start_s, decision_s=DECISION_S
    )
    outcome = simulate(endpoint, load)
    jobs = outcome.jobs
    delays = [taken - came for taken, came in zip(jobs.taken, jobs.arrived, strict=True)]
    latencies = [done - came for done, came in zip(jobs.done, jobs.arrived, strict=True)]
    return measured, summary(delays, latencies, outcome.worker_s)


def summary(delays: Sequence[float], latencies: Sequence[float], worker_s: float) -> Figures:
    """The figures of one run."""
    ordered = sorted(latencies)
    return Figures(
        delay_mean=sum(delays) / len(delays),
        latency_mean=sum(latencies) / len(latencies),
        latency_p95=ordered[int(0.95 * len(ordered))],
        worker_s=worker_s,
    )


def body(tokens: int) -> dict[str, Any]:
    """A job that the echo engine answers with so many tokens."""
    return {"input": {"prompt": "x" * (tokens - 1), "sampling_params": {"max_tokens": tokens, "ignore_eos": True}}}


async def idle_overhead(session: aiohttp.ClientSession, url: str, step_s: float) -> float:
    """Seconds that gateway and worker add to a job on an idle worker, in the middle of seven."""
    found = []
    for _ in range(7):
        began = time.monotonic()
        await run_job(session, url, 20)
        found.append(time.monotonic() - began - 20 * step_s)
    return max(0.0, median(found))


async def run_job(session: aiohttp.ClientSession, url: str, tokens: int) -> dict[str, Any]:
    """The final answer of one job."""
    async with session.post(f"{url}/runsync?wait=300000", json=body(tokens)) as answer:
        found: dict[str, Any] = await answer.json()
    if found["status"] != "COMPLETED":
        raise RuntimeError(f"a job is {found['status']}: {json.dumps(found)[:500]}")
    return found


async def measure(session: aiohttp.ClientSession, url: str, load: Sequence[Arrival]) -> tuple[Figures, float]:
    """Send the load at its moments; its figures, and the mean cold start of the workers that it started."""
    began = time.monotonic()
    delays, latencies, alive = [], [], []
    cold: dict[str, float] = {}

    async def send(arrival: Arrival) -> None:
        await asyncio.sleep(began + arrival.at_s - time.monotonic())
        asked = time.monotonic()
        found = await run_job(session, url, arrival.output_tokens)
        latencies.append(time.monotonic() - asked)
        delays.append(found["delayTime"] / 1000)

    async def watch() -> None:
        root = url.partition("/v2/")[0]
        while True:
            async with session.get(f"{root}/console/api/workers") as answer:
                workers = (await answer.json())["workers"]
            alive.append((time.monotonic(), sum(worker["state"] != "draining" for worker in workers)))
            cold.update({worker["id"]: worker["cold_start_s"] for worker in workers if worker.get("cold_start_s")})
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        await asyncio.gather(*(send(arrival) for arrival in load))
    finally:
        watching.cancel()
    worker_s = sum(count * (later - at) for (at, count), (later, _) in pairwise(alive))
    first, *others = cold.values()
    return summary(delays, latencies, worker_s), sum(others) / len(others) if others else first
