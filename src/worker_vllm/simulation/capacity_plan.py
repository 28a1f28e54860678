"""Which scaling rule and how many workers serve a load within a goal at the least cost: a search over simulations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from worker_vllm.simulation.arrivals import Arrival
from worker_vllm.simulation.endpoint_model import SimulatedEndpoint, simulate
from worker_vllm.simulation.figures import SimulatedFigures, figures
from worker_vllm.simulation.scaling import EndpointLimits, QueueDelayScaler, RequestCountScaler, Scaler
from worker_vllm.simulation.service_curve import ServiceCurve
from worker_vllm.simulation.worker_model import ConstantLimit, Limit, WindowLimit

DELAYS_S = (1.0, 2.0, 4.0, 10.0, 30.0)
SHARES_OF_CAPACITY = (0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True, slots=True)
class Goal:
    """At most so many seconds until the first token, for 95% of the jobs."""

    first_token_p95_s: float


@dataclass(frozen=True, slots=True)
class Prices:
    """What one worker costs a second."""

    per_worker_s: float


@dataclass(frozen=True, slots=True)
class CapacityOption:
    """One way to set the endpoint up, and what the simulation says of it."""

    rule: str
    value: float
    min_workers: int
    max_workers: int
    job_limit: str
    figures: SimulatedFigures


@dataclass(frozen=True, slots=True)
class Question:
    """The load, in order of arrival, one worker's speed, the endpoint's limits, the goal and the price."""

    load: Sequence[Arrival]
    curve: ServiceCurve
    limits: EndpointLimits
    goal: Goal
    prices: Prices


def options(question: Question) -> list[CapacityOption]:
    """Every rule with the fewest warm workers that meet the goal, the cheapest first, those that miss it last."""
    found = [_fewest_warm(question, scaler) for scaler in _scalers(question.curve.max_sequences)]
    return sorted(found, key=lambda option: (not _meets(question, option), option.figures.cost))


def beside_constants(question: Question, option: CapacityOption, constants: Sequence[int]) -> list[CapacityOption]:
    """The same endpoint with a constant number of jobs for each worker instead of the window."""
    limits = replace(question.limits, min_workers=option.min_workers)
    scaler = _scaler(option.rule, option.value)
    return [_try(question, limits, scaler, (f"constant {jobs}", partial(ConstantLimit, jobs))) for jobs in constants]


def _scalers(capacity: int) -> Iterator[Scaler]:
    yield from (QueueDelayScaler(delay) for delay in DELAYS_S)
    yield from (
        RequestCountScaler(jobs) for jobs in sorted({max(1, round(s * capacity)) for s in SHARES_OF_CAPACITY})
    )


def _scaler(rule: str, value: float) -> Scaler:
    return QueueDelayScaler(value) if rule == "QUEUE_DELAY" else RequestCountScaler(int(value))


def _fewest_warm(question: Question, scaler: Scaler) -> CapacityOption:
    """Halve the interval between a number of warm workers that misses the goal and one that meets it."""
    window = ("window", lambda: WindowLimit(question.curve.max_sequences * 2, question.curve.max_sequences))

    def tried(warm: int) -> CapacityOption:
        return _try(question, replace(question.limits, min_workers=warm), scaler, window)

    misses, meets = question.limits.min_workers, question.limits.max_workers
    best = tried(misses)
    if _meets(question, best) or misses == meets:
        return best
    best = tried(meets)
    while _meets(question, best) and meets - misses > 1:
        middle = (misses + meets) // 2
        option = tried(middle)
        if _meets(question, option):
            best, meets = option, middle
        else:
            misses = middle
    return best


def _meets(question: Question, option: CapacityOption) -> bool:
    return option.figures.first_token.p95 <= question.goal.first_token_p95_s


def _try(question: Question, limits: EndpointLimits, scaler: Scaler, job_limit: tuple[str, Limit]) -> CapacityOption:
    outcome = simulate(SimulatedEndpoint(limits, scaler, question.curve, job_limit[1]), question.load)
    rule, value = (
        ("QUEUE_DELAY", scaler.delay_s)
        if isinstance(scaler, QueueDelayScaler)
        else ("REQUEST_COUNT", float(getattr(scaler, "jobs", 0)))
    )
    return CapacityOption(
        rule,
        value,
        limits.min_workers,
        limits.max_workers,
        job_limit[0],
        figures(outcome, question.prices.per_worker_s),
    )
