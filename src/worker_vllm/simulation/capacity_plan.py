"""Which scaling rule and how many workers serve a load within a goal at the least cost: a search over simulations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from worker_vllm.gateway.fleet.scaling import ScalerType, ScalingPolicy
from worker_vllm.simulation.arrivals import Arrival
from worker_vllm.simulation.endpoint_model import SimulatedEndpoint, simulate
from worker_vllm.simulation.figures import SimulatedFigures, figures
from worker_vllm.simulation.service_curve import ServiceCurve
from worker_vllm.simulation.worker_model import ConstantLimit, Limit, WindowLimit

DELAYS_S = (1.0, 2.0, 4.0, 10.0, 30.0)
SHARES_OF_CAPACITY = (0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Question:
    """The load in order of arrival, one worker's speed and cold start, the fewest and most workers, the goal.

    The goal: 95% of the jobs have a token within so many seconds. The price is that of one worker for one second. Of
    the policy, the search varies scaler, value and the number of workers kept.
    """

    load: Sequence[Arrival]
    curve: ServiceCurve
    policy: ScalingPolicy
    cold_start_s: float
    goal_s: float
    price_per_s: float


@dataclass(frozen=True, slots=True)
class CapacityOption:
    """One way to set the endpoint up, and its simulated figures."""

    policy: ScalingPolicy
    job_limit: str
    figures: SimulatedFigures
    meets_goal: bool


def options(question: Question) -> list[CapacityOption]:
    """Every rule with the fewest warm workers that meet the goal, the cheapest first, those that miss it last."""
    found = [_fewest_warm(question, policy) for policy in _policies(question)]
    return sorted(found, key=lambda option: (not option.meets_goal, option.figures.cost))


def beside_constants(question: Question, option: CapacityOption, constants: Sequence[int]) -> list[CapacityOption]:
    """The same endpoint with a constant number of jobs for each worker instead of the window."""
    return [_try(question, option.policy, f"constant {jobs}", partial(ConstantLimit, jobs)) for jobs in constants]


def _policies(question: Question) -> Iterator[ScalingPolicy]:
    capacity = question.curve.max_sequences
    for delay_s in DELAYS_S:
        yield replace(question.policy, scaler=ScalerType.QUEUE_DELAY, value=delay_s)
    for jobs in sorted({max(1, round(share * capacity)) for share in SHARES_OF_CAPACITY}):
        yield replace(question.policy, scaler=ScalerType.REQUEST_COUNT, value=jobs)


def _fewest_warm(question: Question, policy: ScalingPolicy) -> CapacityOption:
    """Halve the interval between a number of warm workers that misses the goal and one that meets it."""
    capacity = question.curve.max_sequences

    def tried(warm: int) -> CapacityOption:
        window = partial(WindowLimit, 2 * capacity, capacity)
        return _try(question, replace(policy, min_workers=warm), "window", window)

    misses, meets = policy.min_workers, policy.max_workers
    best = tried(misses)
    if best.meets_goal or misses == meets:
        return best
    best = tried(meets)
    while best.meets_goal and meets - misses > 1:
        middle = (misses + meets) // 2
        option = tried(middle)
        if option.meets_goal:
            best, meets = option, middle
        else:
            misses = middle
    return best


def _try(question: Question, policy: ScalingPolicy, name: str, job_limit: Limit) -> CapacityOption:
    endpoint = SimulatedEndpoint(policy, question.curve, job_limit, question.cold_start_s)
    found = figures(simulate(endpoint, question.load), question.price_per_s)
    return CapacityOption(policy, name, found, found.first_token.p95 <= question.goal_s)
