"""Which worker gets the next request: rules of the pool without any network."""

from __future__ import annotations

import pytest

from worker_vllm.gateway.load_balancing.affinity import Affinity, read_affinity
from worker_vllm.gateway.load_balancing.pool import PoolHealth, WorkerAddress, WorkerPool

ADDRESS = WorkerAddress("http://127.0.0.1:1", "http://127.0.0.1:1/ping")
ANY = Affinity()


def pool_of(*workers: str, status: int | None = 200) -> WorkerPool:
    """A pool of workers whose health path gave this answer at time 0."""
    pool = WorkerPool()
    for worker_id in workers:
        pool.add(worker_id, ADDRESS)
        pool.record_health(worker_id, status, 0.0)
    return pool


def chosen(pool: WorkerPool, affinity: Affinity = ANY) -> str | None:
    """The id of the chosen worker, whose request stays open."""
    worker = pool.choose(affinity)
    if worker is None:
        return None
    pool.open(worker)
    return worker.id


ANSWERS: list[tuple[tuple[int | None, ...], PoolHealth]] = [
    ((), PoolHealth.INITIALIZING),
    ((None, None), PoolHealth.INITIALIZING),
    ((204,), PoolHealth.INITIALIZING),
    ((204, 200), PoolHealth.READY),
    ((200, 204), PoolHealth.INITIALIZING),
    ((200, 503), PoolHealth.UNHEALTHY),
    ((404,), PoolHealth.UNHEALTHY),
    ((200, None), PoolHealth.UNHEALTHY),
    ((204, None), PoolHealth.UNHEALTHY),
    ((200, 503, 200), PoolHealth.READY),
]


@pytest.mark.parametrize(("answers", "health"), ANSWERS)
def test_the_health_path_decides(answers: tuple[int | None, ...], health: PoolHealth) -> None:
    """204 initializes, 200 is in the pool, all else is out; no answer at all is a start, later it is out."""
    pool = pool_of("w")
    pool.add("w", ADDRESS)
    for status in answers:
        pool.record_health("w", status, 0.0)
    [worker] = pool.workers()
    assert (worker.health, worker.serves) == (health, health is PoolHealth.READY)


def test_least_connections_and_of_equals_the_one_that_waited_longest() -> None:
    pool = pool_of("a", "b", "c")
    assert [chosen(pool) for _ in range(4)] == ["a", "b", "c", "a"]
    freed = pool.find("b")
    assert freed is not None
    pool.close(freed, 1.0)
    assert [chosen(pool) for _ in range(3)] == ["b", "c", "b"]


def test_a_worker_that_drains_or_is_frozen_gets_nothing() -> None:
    pool = pool_of("a", "b", "c")
    first, second, _ = pool.workers()
    first.draining, second.frozen = True, True
    assert [chosen(pool) for _ in range(2)] == ["c", "c"]
    assert chosen(pool, Affinity("a", strict=True)) is None


AFFINITIES = [
    ("b", "b"),
    ("gone", "a"),
    ("strict b", "b"),
    ("strict gone", None),
    ("strict-resume b", "b"),
    ("", "a"),
    ("strict b c", "a"),
]


@pytest.mark.parametrize(("value", "worker_id"), AFFINITIES)
def test_affinity(value: str, worker_id: str | None) -> None:
    """Soft takes another when the worker is not there, strict none; what is no affinity is ignored."""
    affinity = read_affinity([(b"X-Runpod-Worker-Id", value.encode())])
    assert chosen(pool_of("a", "b", "c"), affinity) == worker_id


def test_idle_time_runs_while_a_worker_is_ready_and_has_no_request() -> None:
    pool = pool_of("w", status=204)
    [worker] = pool.workers()
    seen = [worker.idle_since]
    pool.record_health("w", 200, 3.0)
    pool.record_health("w", 200, 4.0)
    seen.append(worker.idle_since)
    pool.open(worker)
    pool.open(worker)
    pool.close(worker, 5.0)
    seen.append(worker.idle_since)
    pool.close(worker, 6.0)
    seen.append(worker.idle_since)
    pool.record_health("w", 503, 7.0)
    seen.append(worker.idle_since)
    assert seen == [None, 3.0, None, 6.0, None]
