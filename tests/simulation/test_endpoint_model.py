"""The simulation agrees with queueing theory where theory has an answer, and follows the platform's rules."""

from __future__ import annotations

from math import isnan
from random import Random
from statistics import fmean

import pytest

from worker_vllm.gateway.fleet.scaling import ScalerType, ScalingPolicy
from worker_vllm.simulation.arrivals import Arrival, FixedLength, RateStep, poisson_arrivals
from worker_vllm.simulation.endpoint_model import Outcome, SimulatedEndpoint, simulate
from worker_vllm.simulation.service_curve import CurvePoint, ServiceCurve, stepping_engine
from worker_vllm.simulation.worker_model import ConstantLimit, WindowLimit

ONE_WORKER = ScalingPolicy(min_workers=1, max_workers=1)


def shared_rate(tokens_per_s: float, sequences: int) -> ServiceCurve:
    """An engine whose whole rate is the same for any number of sequences."""
    return ServiceCurve((CurvePoint(1, tokens_per_s),), float("inf"), sequences)


def latencies(outcome: Outcome) -> list[float]:
    """Seconds from arrival to the end, for each job."""
    return [done - came for done, came in zip(outcome.jobs.done, outcome.jobs.arrived, strict=True)]


def exponential_outputs(per_s: float, mean: float, count: int) -> list[Arrival]:
    """Poisson arrivals whose lengths are exponential."""
    random = Random(7)
    now, found = 0.0, []
    for _ in range(count):
        now += random.expovariate(per_s)
        found.append(Arrival(now, 1, max(1, round(random.expovariate(1 / mean)))))
    return found


@pytest.mark.parametrize("load_share", [0.3, 0.6, 0.8])
def test_one_server_in_order_waits_as_pollaczek_and_khinchine_say(load_share: float) -> None:
    """M/D/1: the mean wait is rho / (2 mu (1 - rho))."""
    service_s = 0.1
    jobs = poisson_arrivals([RateStep(0, load_share / service_s)], 6000, FixedLength(1), FixedLength(10), 3)
    endpoint = SimulatedEndpoint(ONE_WORKER, shared_rate(100, 1), lambda: ConstantLimit(1))
    outcome = simulate(endpoint, jobs)
    waits = [taken - came for taken, came in zip(outcome.jobs.taken, outcome.jobs.arrived, strict=True)]
    assert fmean(waits) == pytest.approx(load_share * service_s / (2 * (1 - load_share)), rel=0.08)


@pytest.mark.parametrize("load_share", [0.3, 0.5, 0.7])
def test_a_shared_engine_answers_as_processor_sharing_says(load_share: float) -> None:
    """M/M/1-PS: the mean time in the system is 1 / (mu - lambda), with the rates that were drawn."""
    load = exponential_outputs(10 * load_share, 100, 40_000)
    mu = 1000 / fmean(arrival.output_tokens for arrival in load)
    per_s = len(load) / load[-1].at_s
    outcome = simulate(SimulatedEndpoint(ONE_WORKER, shared_rate(1000, 5000), lambda: ConstantLimit(5000)), load)
    assert fmean(latencies(outcome)) == pytest.approx(1 / (mu - per_s), rel=0.05)


def test_a_job_beyond_the_sequences_waits_inside_the_engine() -> None:
    """Two sequences of 10 steps run, the third starts when one has ended."""
    load = [Arrival(0.0, 1, 10), Arrival(0.0, 1, 10), Arrival(0.0, 1, 10)]
    outcome = simulate(SimulatedEndpoint(ONE_WORKER, stepping_engine(0.1, 2), lambda: ConstantLimit(9)), load)
    assert latencies(outcome) == pytest.approx([1.0, 1.0, 2.0])
    assert list(outcome.jobs.taken) == [0.0, 0.0, 0.0]
    assert list(outcome.jobs.first_token) == pytest.approx([0.1, 0.1, 1.1])


def test_the_window_leaves_what_would_only_wait_to_other_workers() -> None:
    """Capacity 8 and a spare of one: the tenth job stays in the queue."""
    load = [Arrival(0.0, 1, 10)] * 12
    outcome = simulate(SimulatedEndpoint(ONE_WORKER, stepping_engine(0.1, 8), lambda: WindowLimit(100, 8)), load)
    assert sum(taken == 0.0 for taken in outcome.jobs.taken) == 9
    assert not any(isnan(done) for done in outcome.jobs.done)


def test_request_count_starts_the_workers_that_the_formula_names() -> None:
    """ceil((queued + running) / value) workers, each ready after its cold start; all are paid from their start."""
    policy = ScalingPolicy(0, 10, ScalerType.REQUEST_COUNT, 3)
    load = [Arrival(0.5, 1, 10)] * 7
    endpoint = SimulatedEndpoint(policy, stepping_engine(0.1, 8), lambda: ConstantLimit(3), cold_start_s=30)
    outcome = simulate(endpoint, load)
    assert outcome.workers == [(1.0, 3)]
    assert sorted(outcome.jobs.taken) == [31.0] * 7
    assert outcome.worker_s == pytest.approx(3 * 31.0)
    assert outcome.cold_starts == 3


def test_queue_delay_starts_the_first_worker_at_once_and_the_next_when_a_job_is_late() -> None:
    """Three jobs: a worker at 0 s, a second one after more than 4 s of waiting, a third 4 s later, no fourth."""
    policy = ScalingPolicy(0, 9, ScalerType.QUEUE_DELAY, 4)
    endpoint = SimulatedEndpoint(policy, stepping_engine(0.1, 8), lambda: ConstantLimit(3), cold_start_s=60)
    outcome = simulate(endpoint, [Arrival(0.0, 1, 10)] * 3)
    assert outcome.workers == [(0.0, 1), (5.0, 2), (9.0, 3)]


def test_an_idle_worker_ends_after_its_timeout_and_is_paid_until_then() -> None:
    """One second of work, five of idleness."""
    policy = ScalingPolicy(0, 1, ScalerType.REQUEST_COUNT, 1, idle_timeout_s=5)
    endpoint = SimulatedEndpoint(policy, stepping_engine(0.1, 1), lambda: ConstantLimit(1), cold_start_s=2)
    outcome = simulate(endpoint, [Arrival(0.0, 1, 10), Arrival(60.0, 1, 10)])
    assert outcome.workers == [(0.0, 1), (8.0, 0), (60.0, 1)]
    assert outcome.worker_s == pytest.approx(8 + 3)


def test_an_endpoint_needs_a_worker() -> None:
    """Without one no job would ever end."""
    endpoint = SimulatedEndpoint(ScalingPolicy(0, 0), stepping_engine(0.1, 1), lambda: ConstantLimit(1))
    with pytest.raises(ValueError, match="max_workers 0: expected at least 1"):
        simulate(endpoint, [])
