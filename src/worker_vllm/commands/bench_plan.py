"""`worker-vllm bench plan`: the scaling rule and the workers that serve a load within a goal, and their cost."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker_vllm.simulation.capacity_plan import CapacityOption
    from worker_vllm.simulation.service_curve import ServiceCurve

SECONDS_PER_HOUR = 3600.0
CURVE_EXAMPLE = '{"points": [[1, 80], [32, 1600]], "prompt_tokens_per_s": 8000, "max_sequences": 256}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the load, the speed of one worker, the endpoint's limits, goal and price."""
    parser.add_argument(
        "load", type=Path, help='the load: lines of {"at": seconds, "prompt_tokens": n, "output_tokens": n}'
    )
    parser.add_argument(
        "--curve",
        type=Path,
        required=True,
        help=f"one worker as measured, tokens a second at each number of sequences: {CURVE_EXAMPLE}",
    )
    parser.add_argument("--min-workers", type=int, default=0)
    parser.add_argument("--max-workers", type=int, default=10)
    parser.add_argument("--idle-timeout", type=float, default=5.0, help="seconds")
    parser.add_argument("--cold-start", type=float, default=60.0, help="seconds from a start to the first job")
    parser.add_argument("--goal", type=float, default=2.0, help="seconds to the first token, for 95%% of the jobs")
    parser.add_argument("--price-per-hour", type=float, default=1.0, help="of one worker")
    parser.add_argument("--beside", type=int, nargs="*", default=[30], help="constant concurrencies to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every option there")


def run(args: argparse.Namespace) -> int:
    """Print the options, the cheapest that meets the goal first. Returns 0, or 1 when none meets it."""
    from worker_vllm.gateway.fleet.scaling import ScalingPolicy
    from worker_vllm.simulation.arrivals import read_load
    from worker_vllm.simulation.capacity_plan import Question, beside_constants, options

    if not 0 <= args.min_workers <= args.max_workers or not args.max_workers:
        raise ValueError(
            f"--min-workers {args.min_workers} --max-workers {args.max_workers}: expected the first from 0, the "
            "second from 1 and not below the first"
        )
    with args.load.open() as lines:
        load = read_load(iter(lines))
    policy = ScalingPolicy(args.min_workers, args.max_workers, idle_timeout_s=args.idle_timeout)
    price = args.price_per_hour / SECONDS_PER_HOUR
    question = Question(load, read_curve(args.curve), policy, args.cold_start, args.goal, price)
    found = options(question)
    found += beside_constants(question, found[0], args.beside)
    print(
        f"{len(load)} jobs over {load[-1].at_s - load[0].at_s:.0f} s; goal: 95% have a token within {args.goal:g} s"
    )
    for option in found:
        print(_line(option))
    if args.json:
        args.json.write_text(json.dumps([asdict(option) for option in found], indent=2) + "\n")
    return 0 if found[0].meets_goal else 1


def read_curve(path: Path) -> ServiceCurve:
    """A service curve from a JSON file. Raises ValueError with what is expected, OSError."""
    from worker_vllm.simulation.service_curve import CurvePoint, ServiceCurve

    try:
        row: dict[str, Any] = json.loads(path.read_text())
        points = tuple(CurvePoint(int(count), float(rate)) for count, rate in row["points"])
        return ServiceCurve(
            points, float(row["prompt_tokens_per_s"]), int(row["max_sequences"]), float(row.get("overhead_s", 0))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {error}; expected {CURVE_EXAMPLE}") from None


def _line(option: CapacityOption) -> str:
    figures, policy = option.figures, option.policy
    return (
        f"{'ok  ' if option.meets_goal else 'miss'} {policy.scaler:<13} {policy.value:>6g}"
        f"  workers {policy.min_workers}-{policy.max_workers} (most {figures.most_workers})  {option.job_limit:<12}"
        f"  first token p50 {figures.first_token.p50:.2f} p95 {figures.first_token.p95:.2f} s"
        f"  latency p95 {figures.latency.p95:.1f} s  cost {figures.cost:.2f} ({figures.cost_per_1000:.3f} per 1,000)"
    )
