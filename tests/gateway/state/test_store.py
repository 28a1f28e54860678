"""A job's states as tables: every operation in every state, with the effects it demands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.options import GatewayLimits, JobPolicy
from worker_vllm.gateway.state.effects import CallWebhook, Effect, JobChanged, StopJob, WorkQueued
from worker_vllm.gateway.state.job import JobOutcome, Piece, Status, Submission
from worker_vllm.gateway.state.job_store import JobStore

ASKED = Submission(input=b"{}", sync=False, execution_timeout_s=600, ttl_s=86_400)
CHANGED: list[Effect] = [JobChanged("j")]
QUEUED: list[Effect] = [WorkQueued(), JobChanged("j")]
STOPPED: list[Effect] = [StopJob("w", "j"), JobChanged("j")]


def store_in(status: Status, *, delivered: bool = False, retries: int = 0) -> JobStore:
    """A store whose job `j` is in that state; worker `w` has or had it."""
    store = JobStore(JobPolicy(max_retries=1), GatewayLimits())
    store.submit("j", ASKED, 0)
    for _ in range(retries):
        store.start("w0", 1, 0)
        store.requeue(store.get("j"), 0)
    if status is Status.IN_QUEUE:
        return store
    store.start("w", 1, 1)
    if delivered:
        store.add_piece("j", "w", Piece("x", 1))
        store.read_pieces(store.get("j"))
    match status:
        case Status.COMPLETED:
            store.finish("j", "w", JobOutcome(1), 2)
        case Status.FAILED:
            store.finish("j", "w", JobOutcome(error="no"), 2)
        case Status.CANCELLED:
            store.cancel("j", 2)
        case Status.TIMED_OUT:
            store.expire(601)
    return store


def requeue(store: JobStore) -> list[Effect]:
    return store.requeue(store.get("j"), 5)


Row = tuple[str, JobStore, Callable[[JobStore], list[Effect]], list[Effect], Status]
S = Status
CHANGES: list[Row] = [
    ("queued: cancel", store_in(S.IN_QUEUE), lambda s: s.cancel("j", 5), CHANGED, S.CANCELLED),
    ("queued: purge", store_in(S.IN_QUEUE), lambda s: s.purge(5)[1], CHANGED, S.CANCELLED),
    (
        "queued: a stranger's result",
        store_in(S.IN_QUEUE),
        lambda s: s.finish("j", "w", JobOutcome(), 5),
        [],
        S.IN_QUEUE,
    ),
    (
        "queued: a stranger's piece",
        store_in(S.IN_QUEUE),
        lambda s: s.add_piece("j", "w", Piece(1, 1)),
        [],
        S.IN_QUEUE,
    ),
    (
        "requeued: the first worker's result",
        store_in(S.IN_QUEUE, retries=1),
        lambda s: s.finish("j", "w0", JobOutcome(1), 5),
        CHANGED,
        S.COMPLETED,
    ),
    (
        "running: result",
        store_in(S.IN_PROGRESS),
        lambda s: s.finish("j", "w", JobOutcome(1), 5),
        CHANGED,
        S.COMPLETED,
    ),
    (
        "running: error",
        store_in(S.IN_PROGRESS),
        lambda s: s.finish("j", "w", JobOutcome(error="x"), 5),
        CHANGED,
        S.FAILED,
    ),
    (
        "running: another's result",
        store_in(S.IN_PROGRESS),
        lambda s: s.finish("j", "v", JobOutcome(), 5),
        [],
        S.IN_PROGRESS,
    ),
    (
        "running again: the first worker's result",
        store_in(S.IN_PROGRESS, retries=1),
        lambda s: s.finish("j", "w0", JobOutcome(1), 5),
        STOPPED,
        S.COMPLETED,
    ),
    (
        "running again, partly delivered: the first worker's result",
        store_in(S.IN_PROGRESS, retries=1, delivered=True),
        lambda s: s.finish("j", "w0", JobOutcome(1), 5),
        [],
        S.IN_PROGRESS,
    ),
    ("running: piece", store_in(S.IN_PROGRESS), lambda s: s.add_piece("j", "w", Piece(1, 1)), CHANGED, S.IN_PROGRESS),
    (
        "running: another's piece",
        store_in(S.IN_PROGRESS),
        lambda s: s.add_piece("j", "v", Piece(1, 1)),
        [],
        S.IN_PROGRESS,
    ),
    (
        "running: progress",
        store_in(S.IN_PROGRESS),
        lambda s: s.progress("j", "w", Piece(1, 1)),
        CHANGED,
        S.IN_PROGRESS,
    ),
    ("running: cancel", store_in(S.IN_PROGRESS), lambda s: s.cancel("j", 5), STOPPED, S.CANCELLED),
    ("running: purge", store_in(S.IN_PROGRESS), lambda s: s.purge(5)[1], [], S.IN_PROGRESS),
    ("running: timeout", store_in(S.IN_PROGRESS), lambda s: s.expire(601), STOPPED, S.TIMED_OUT),
    ("running: not yet a timeout", store_in(S.IN_PROGRESS), lambda s: s.expire(600.9), [], S.IN_PROGRESS),
    ("running: worker lost", store_in(S.IN_PROGRESS), requeue, QUEUED, S.IN_QUEUE),
    ("running: lost too often", store_in(S.IN_PROGRESS, retries=1), requeue, CHANGED, S.FAILED),
    ("running, partly delivered: lost", store_in(S.IN_PROGRESS, delivered=True), requeue, CHANGED, S.FAILED),
    ("running: put back", store_in(S.IN_PROGRESS), lambda s: s.put_back(s.get("j")), [WorkQueued()], S.IN_QUEUE),
    ("failed: retry", store_in(S.FAILED), lambda s: s.retry("j", 5), QUEUED, S.IN_QUEUE),
    ("timed out: retry", store_in(S.TIMED_OUT), lambda s: s.retry("j", 5), QUEUED, S.IN_QUEUE),
    ("completed: cancel", store_in(S.COMPLETED), lambda s: s.cancel("j", 5), [], S.COMPLETED),
    (
        "completed: result again",
        store_in(S.COMPLETED),
        lambda s: s.finish("j", "w", JobOutcome(2), 5),
        [],
        S.COMPLETED,
    ),
    (
        "cancelled: late result",
        store_in(S.CANCELLED),
        lambda s: s.finish("j", "w", JobOutcome(2), 5),
        [],
        S.CANCELLED,
    ),
    ("timed out: late piece", store_in(S.TIMED_OUT), lambda s: s.add_piece("j", "w", Piece(1, 1)), [], S.TIMED_OUT),
]


@pytest.mark.parametrize("row", CHANGES, ids=[row[0] for row in CHANGES])
def test_a_change_of_state_and_its_effects(row: Row) -> None:
    """(state before, operation) → (effects, state after)."""
    _, store, operation, effects, after = row
    assert (operation(store), store.get("j").status) == (effects, after)


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.FAILED, Status.TIMED_OUT)])
def test_only_failed_and_timed_out_jobs_are_retried(status: Status) -> None:
    """The refusal names the state."""
    with pytest.raises(RequestError, match=f'job "j" is {status}'):
        store_in(status).retry("j", 5)


def test_a_requeued_job_starts_over_before_all_others() -> None:
    """Its stream, its worker and its times are gone; `retries` counts it."""
    store = store_in(Status.IN_PROGRESS)
    store.submit("k", ASKED, 1)
    store.add_piece("j", "w", Piece("half", 4))
    requeue(store)
    assert store.get("j").to_client() == {"id": "j", "status": "IN_QUEUE", "retries": 1}
    assert [job.id for job in store.start("v", 2, 9)] == ["j", "k"]
    assert store.read_pieces(store.get("j")) == []


def test_a_job_that_failed_with_its_worker_has_the_reason() -> None:
    """Both reasons have their own words."""
    for store, words in (
        (store_in(Status.IN_PROGRESS, delivered=True), "after a part of its answer was delivered"),
        (store_in(Status.IN_PROGRESS, retries=1), "2 times"),
    ):
        requeue(store)
        assert store.get("j").error == f'worker "w" was lost {words}; the job is not run again'


KEPT = [(False, 1_800), (True, 60)]


@pytest.mark.parametrize(("sync", "kept_s"), KEPT, ids=["run", "runsync"])
def test_results_are_kept_for_their_time(sync: bool, kept_s: float) -> None:
    """30 minutes for /run, one for /runsync, then the job is unknown."""
    store = JobStore(JobPolicy(), GatewayLimits())
    store.submit("j", replace(ASKED, sync=sync), 0)
    store.start("w", 1, 0)
    store.finish("j", "w", JobOutcome(1, size=10), 100)
    store.expire(99 + kept_s)
    assert store.get("j").output == 1
    store.expire(100 + kept_s)
    assert store.held_bytes == 0
    with pytest.raises(NotFound, match='job "j": not known here'):
        store.get("j")


@pytest.mark.parametrize("status", list(Status))
def test_a_ttl_deletes_a_job_in_any_state(status: Status) -> None:
    """From its submission on; a running one is stopped."""
    store = store_in(status)
    store.set_ttl("j", 10)
    effects = store.expire(10)
    assert effects == (STOPPED if status is Status.IN_PROGRESS else CHANGED)
    assert store.find("j") is None
    assert (store.held_bytes, store.queued, store.running) == (0, 0, 0)


def test_a_webhook_is_called_with_the_final_status_once() -> None:
    """At every kind of end, with what /status shows."""
    asked = replace(ASKED, webhook="http://here/hook")
    store = JobStore(JobPolicy(), GatewayLimits())
    store.submit("j", asked, 0)
    store.start("w", 1, 0)
    shown: dict[str, Any] = {"id": "j", "status": "COMPLETED", "output": 1, "delayTime": 0, "executionTime": 2000}
    expected: list[Effect] = [JobChanged("j"), CallWebhook("http://here/hook", {**shown, "workerId": "w"})]
    assert store.finish("j", "w", JobOutcome(1), 2) == expected
    assert store.finish("j", "w", JobOutcome(1), 2) == []


def test_old_results_make_room_and_a_full_memory_refuses() -> None:
    """The oldest ended job goes first; what waits or runs is never dropped."""
    store = JobStore(JobPolicy(), GatewayLimits(held_bytes=100))
    big = replace(ASKED, input=b"x" * 40)
    for name in ("a", "b"):
        store.submit(name, big, 0)
    store.start("w", 1, 0)
    store.finish("a", "w", JobOutcome(1, size=5), 1)
    store.submit("c", big, 2)
    assert (store.find("a"), store.held_bytes) == (None, 80)
    with pytest.raises(RequestError, match="the gateway holds 80 bytes of jobs") as refused:
        store.submit("d", big, 3)
    assert refused.value.status == 429


def test_an_unread_stream_keeps_its_newest_pieces() -> None:
    """Bounded, and the loss is counted."""
    store = JobStore(JobPolicy(), GatewayLimits(unread_bytes=10))
    store.submit("j", ASKED, 0)
    store.start("w", 1, 0)
    for n in range(5):
        store.add_piece("j", "w", Piece(n, 4))
    job = store.get("j")
    assert (job.dropped_pieces, store.read_pieces(job), store.held_bytes) == (3, [3, 4], 2)


def test_everything_that_a_client_and_a_worker_sent_is_counted() -> None:
    """What goes along beside the input, and progress, which the next progress and the result replace."""
    store = JobStore(JobPolicy(), GatewayLimits(held_bytes=100))
    store.submit("j", replace(ASKED, forwarded=b"x" * 70), 0)
    store.start("w", 1, 0)
    for size, held in ((20, 92), (5, 77)):
        store.progress("j", "w", Piece("half", size))
        assert store.held_bytes == held
    with pytest.raises(RequestError, match="the gateway holds 77 bytes of jobs"):
        store.submit("k", replace(ASKED, forwarded=b"x" * 70), 0)
    store.requeue(store.get("j"), 0)
    assert store.held_bytes == 72
