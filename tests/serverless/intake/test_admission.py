"""How many jobs a worker may hold."""

from __future__ import annotations

from worker_vllm.engine.client.metrics import parse_load
from worker_vllm.engine.interface import EngineLoad
from worker_vllm.serverless.intake.admission import Admission

IDLE = EngineLoad(running=4, waiting=0, kv_used=0.1)


def with_jobs(admission: Admission, count: int) -> Admission:
    """The same admission with exactly `count` jobs in the engine."""
    for number in range(1000):
        admission.release(f"job-{number}")
    for number in range(count):
        admission.acquire(f"job-{number}")
    return admission


def filled(admission: Admission) -> Admission:
    """The same admission with as many jobs as it may hold."""
    return with_jobs(admission, admission.window)


def test_a_first_take_never_exceeds_what_is_known() -> None:
    """The operator's cap, the engine's slots, or 64 where neither is lower."""
    assert Admission(300, capacity=8).free == 8
    assert Admission(5, capacity=8).free == 5
    assert Admission(300).free == 64


def test_an_engine_that_keeps_up_gets_more() -> None:
    """The window doubles each time it is full and nothing waits, up to the cap."""
    admission = filled(Admission(300))
    sizes = []
    for _ in range(5):
        admission.update(IDLE)
        sizes.append(filled(admission).window)
    assert sizes == [128, 256, 300, 300, 300]
    assert not admission.wants_report


def test_a_window_with_room_left_stays() -> None:
    """Only a full window shows what the engine can do."""
    admission = Admission(300)
    with_jobs(admission, 3)
    admission.update(IDLE)
    assert admission.window == 64


def test_jobs_that_wait_in_the_engine_are_not_hoarded() -> None:
    """Another worker could run them: what runs, and one in eight to follow."""
    admission = filled(Admission(300))
    admission.update(EngineLoad(running=16, waiting=48, kv_used=0.4))
    assert (admission.window, admission.free) == (18, 0)


def test_full_memory_counts_as_waiting() -> None:
    """More jobs would only preempt each other."""
    admission = filled(Admission(300))
    admission.update(EngineLoad(running=32, waiting=0, kv_used=0.99))
    assert admission.window == 64 + 8


def test_known_slots_bound_the_window() -> None:
    """Eight slots and one job to follow."""
    admission = filled(Admission(300, capacity=8))
    for _ in range(4):
        admission.update(IDLE)
        filled(admission)
    assert admission.window == 9


def test_an_engine_that_reports_no_load_is_bounded_by_the_cap_alone() -> None:
    """The operator's setting applies."""
    admission = filled(Admission(300))
    admission.update(None)
    assert admission.window == 300


def test_a_refusal_narrows_the_window() -> None:
    """The engine's own queue is full: take fewer jobs, but at least one."""
    admission = filled(Admission(300, capacity=8))
    admission.refused()
    assert admission.window == 7
    with_jobs(admission, 0)
    admission.refused()
    assert admission.window == 1


def test_results_that_the_platform_does_not_accept_fill_the_window() -> None:
    """They show nothing about the engine, so they do not move it."""
    admission = Admission(300, capacity=8)
    with_jobs(admission, 3)
    for number in range(4):
        admission.acquire_undelivered(f"late-{number}")
    assert admission.free == 1
    for number in range(300):
        admission.acquire_undelivered(f"late-{number}")
    assert (admission.free, admission.wants_report, admission.window) == (0, False, 8)


def test_a_closed_admission_takes_nothing() -> None:
    """While the engine restarts."""
    admission = Admission(300)
    admission.open = False
    assert admission.free == 0


def test_the_load_is_read_from_the_engines_metrics() -> None:
    """Sums over replicas, the fullest memory; None where the names are missing."""
    text = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a{b"} 3.0
vllm:num_requests_running{engine="1"} 2.0
vllm:num_requests_waiting{engine="0"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
"""
    assert parse_load(text) == EngineLoad(running=5, waiting=4, kv_used=0.5)
    assert parse_load("other 1\n") is None


def test_a_job_is_counted_once_and_released_once() -> None:
    """The worker may release a job twice: when its work is over and when its task ends."""
    admission = Admission(4)
    for job_id in ("a", "b", "a"):
        admission.acquire(job_id)
    admission.acquire_undelivered("c")
    assert (admission.running, admission.undelivered, admission.free) == (2, 1, 1)
    for job_id in ("a", "a", "unknown"):
        admission.release(job_id)
        admission.release_undelivered(job_id)
    admission.release_undelivered("c")
    assert (admission.running, admission.undelivered, admission.free) == (1, 0, 3)
