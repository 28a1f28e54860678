"""What a worker's pings, silence and closed connections mean for its jobs: pure state, a clock in the test's hand."""

from __future__ import annotations

import pytest

from worker_vllm.gateway.options import FleetPolicy, GatewayOptions
from worker_vllm.gateway.state.effects import JobChanged, StopJob, WorkQueued
from worker_vllm.gateway.state.endpoint import Endpoint, Ping
from worker_vllm.gateway.state.job import JobOutcome, Piece, Status, Submission

ASKED = Submission(input=b"{}", sync=False, execution_timeout_s=600, ttl_s=86_400)


@pytest.fixture
def endpoint() -> Endpoint:
    """An endpoint whose worker `w`, pinging every second, holds the job `j` since second 0."""
    endpoint = Endpoint(GatewayOptions(fleet=FleetPolicy(least_silence_s=0)))
    endpoint.store.submit("j", ASKED, 0)
    endpoint.take("w", 1, 0)
    for now in (0, 1):
        endpoint.ping(Ping("w", ["j"]), now)
    return endpoint


def status(endpoint: Endpoint) -> Status:
    return endpoint.store.get("j").status


def test_three_missed_pings_lose_a_worker_and_requeue_its_jobs(endpoint: Endpoint) -> None:
    """Three of its own intervals of silence; the next worker gets the job as a retry."""
    assert endpoint.next_deadline() == 4
    assert endpoint.tick(3.9) == []
    assert endpoint.tick(4) == [WorkQueued(), JobChanged("j")]
    assert endpoint.fleet.workers() == []
    assert [(job.id, job.retries) for job in endpoint.take("v", 1, 5)] == [("j", 1)]


def test_a_suspended_gateway_loses_no_worker(endpoint: Endpoint) -> None:
    """Ctrl-Z and fg, a paused machine: who was silent then was not asked; the silence starts anew."""
    assert endpoint.tick(60) == []
    assert endpoint.next_deadline() == 63
    assert endpoint.tick(63) == [WorkQueued(), JobChanged("j")]


def test_any_request_is_a_sign_of_life(endpoint: Endpoint) -> None:
    """A worker that takes or reports lives, whatever became of its pings."""
    endpoint.take("w", 1, 3)
    assert endpoint.next_deadline() == 6
    endpoint.finish("w", "j", JobOutcome(1), 5)
    assert endpoint.tick(7.9) == []


def test_a_worker_whose_poll_broke_off_is_lost_sooner(endpoint: Endpoint) -> None:
    """Its next ping is due anyway: half an interval later it is gone. A draining worker's ping arrives in time."""
    endpoint.fleet.poll("w", 1, poll_aborted=False)
    endpoint.fleet.poll("w", 1, poll_aborted=True)
    assert endpoint.next_deadline() == 3
    endpoint.ping(Ping("w", ["j"]), 2)
    assert endpoint.tick(3) == []
    assert status(endpoint) is Status.IN_PROGRESS


def test_a_worker_that_never_pinged_owes_none_while_its_connection_stands() -> None:
    """The SDK sends no pings without a key; only a broken poll starts its clock."""
    endpoint = Endpoint(GatewayOptions())
    endpoint.store.submit("j", ASKED, 0)
    endpoint.take("w", 1, 0)
    assert endpoint.next_deadline() == 600
    endpoint.fleet.poll("w", 10, poll_aborted=True)
    assert endpoint.next_deadline() == 30
    assert endpoint.tick(30) == [WorkQueued(), JobChanged("j")]


def test_a_job_that_two_pings_do_not_name_is_requeued(endpoint: Endpoint) -> None:
    """One may have been on its way when the job was taken."""
    assert endpoint.ping(Ping("w", []), 2) == []
    assert endpoint.ping(Ping("w", []), 3) == [WorkQueued(), JobChanged("j")]


def test_a_job_that_is_named_again_is_not_requeued(endpoint: Endpoint) -> None:
    """Only pings in a row count."""
    for now, named in ((2, []), (3, ["j"]), (4, [])):
        endpoint.ping(Ping("w", named), now)
    assert status(endpoint) is Status.IN_PROGRESS


def test_a_lost_worker_that_comes_back_gets_a_stop(endpoint: Endpoint) -> None:
    """Frozen and thawed: another has its job by now, or will."""
    endpoint.tick(4)
    assert endpoint.ping(Ping("w", ["j"]), 60) == [StopJob("w", "j")]
    endpoint.take("v", 1, 61)
    assert endpoint.ping(Ping("w", ["j"]), 62) == [StopJob("w", "j")]


def test_a_finished_job_that_a_ping_still_names_is_left_alone(endpoint: Endpoint) -> None:
    """The ping was on its way."""
    endpoint.finish("w", "j", JobOutcome(1), 2)
    assert endpoint.ping(Ping("w", ["j"]), 2) == []


def test_a_job_is_not_run_again_once_a_client_read_a_piece(endpoint: Endpoint) -> None:
    """A second run would contradict the first."""
    endpoint.store.add_piece("j", "w", Piece("x", 1))
    endpoint.store.read_pieces(endpoint.store.get("j"))
    assert endpoint.tick(4) == [JobChanged("j")]
    assert status(endpoint) is Status.FAILED


def test_a_draining_worker_keeps_its_jobs_while_it_names_them(endpoint: Endpoint) -> None:
    """It takes no more and pings on: stop taking first, finish later."""
    endpoint.fleet.poll("w", 1, poll_aborted=True)
    for now in range(2, 30):
        endpoint.ping(Ping("w", ["j"]), now)
    assert endpoint.finish("w", "j", JobOutcome(1), 30) == [JobChanged("j")]


def test_a_job_given_to_a_worker_that_stopped_comes_back(endpoint: Endpoint) -> None:
    """The other order: the take was answered after the worker had closed it, so its pings never name the job."""
    endpoint.store.submit("late", ASKED, 1)
    endpoint.take("w", 1, 1.5)
    assert endpoint.ping(Ping("w", ["j"]), 2) == []
    assert endpoint.ping(Ping("w", ["j"]), 3) == [WorkQueued(), JobChanged("late")]
    assert status(endpoint) is Status.IN_PROGRESS


def test_retired_and_unhealthy_workers_get_no_jobs(endpoint: Endpoint) -> None:
    """Until the next healthy ping, or for ever."""
    endpoint.store.submit("k", ASKED, 1)
    endpoint.ping(Ping("u", [], healthy=False), 1)
    endpoint.retire("w", 1)
    assert (endpoint.take("u", 1, 2), endpoint.take("w", 1, 2)) == ([], [])
    endpoint.ping(Ping("u", []), 3)
    assert [job.id for job in endpoint.take("u", 1, 3)] == ["k"]


def test_reports_of_faults_outlive_their_workers_and_are_bounded(endpoint: Endpoint) -> None:
    """The newest twenty; a healthy ping adds none."""
    for number in range(25):
        endpoint.ping(Ping(f"w{number}", [], healthy=False, check="disk full", reason=str(number)), number)
        endpoint.lose(f"w{number}", number)
    endpoint.ping(Ping("w", []), 30)
    reports = endpoint.health()["unhealthy"]
    assert len(reports) == 20
    assert reports[-1] == {"worker": "w24", "check": "disk full", "reason": "24"}


def test_an_expected_worker_initializes_until_it_is_heard(endpoint: Endpoint) -> None:
    """RunPod's counts; nothing is owed before the first request."""
    endpoint.fleet.expect("new")
    counts = {"idle": 0, "initializing": 1, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 0}
    assert endpoint.health()["workers"] == counts
    endpoint.take("new", 1, 2)
    assert endpoint.health()["workers"] == {**counts, "idle": 1, "initializing": 0, "ready": 2}
