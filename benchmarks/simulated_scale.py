"""A million jobs on up to 1,000 simulated workers: this worker's window beside a constant number of jobs.

The service curve is an example, not a measurement: 80 tokens a second alone, 5,200 with 256 sequences.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from worker_vllm.gateway.fleet.scaling import ScalerType, ScalingPolicy
from worker_vllm.simulation.arrivals import LogNormalLength, RateStep, UniformLength, poisson_arrivals
from worker_vllm.simulation.endpoint_model import SimulatedEndpoint, simulate
from worker_vllm.simulation.figures import figures
from worker_vllm.simulation.service_curve import CurvePoint, ServiceCurve
from worker_vllm.simulation.worker_model import ConstantLimit, Limit, WindowLimit

CURVE = ServiceCurve(
    (CurvePoint(1, 80), CurvePoint(32, 1600), CurvePoint(128, 4000), CurvePoint(256, 5200)), 8000, 256
)
LIMITS: dict[str, Limit] = {
    "window": partial(WindowLimit, 300, 256),
    "constant 30": partial(ConstantLimit, 30),
    "constant 300": partial(ConstantLimit, 300),
}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks simulated_scale", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--per-s", type=float, default=1500.0)
    given = parser.parse_args()
    policy = ScalingPolicy(1, 1000, ScalerType.REQUEST_COUNT, 100)
    for name, limit in LIMITS.items():
        began = time.perf_counter()
        steps = [RateStep(0, given.per_s)]
        until_s = given.jobs / given.per_s
        load = poisson_arrivals(steps, until_s, UniformLength(50, 500), LogNormalLength(150, 0.8, 2000), seed=1)
        found = figures(simulate(SimulatedEndpoint(policy, CURVE, limit), load), price_per_s=1 / 3600)
        took_s = time.perf_counter() - began
        print(
            f"{name:<13} {found.jobs} jobs, most workers {found.most_workers}, first token p95 "
            f"{found.first_token.p95:.1f} s, worker hours {found.cost:.1f}; simulated in {took_s:.0f} s"
        )
