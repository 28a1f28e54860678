"""Who may post, how often: fewer and larger pieces on a machine that is short of CPU."""

from __future__ import annotations

import asyncio

import pytest

from worker_vllm.serverless.delivery.post_rate import PostRateLimits, PostScheduler, TokenBucket

PACE = PostRateLimits(
    max_per_second=1000,
    min_per_second=100,
    root_per_second=20,
    longest_interval_s=0.2,
    burst=4,
    max_in_flight=2,
    late_s=0.01,
    adjust_interval_s=0.1,
)


def test_the_bucket_fills_up_to_one_burst() -> None:
    """Four at once, then one a millisecond; an urgent piece may overdraw."""
    bucket = TokenBucket(PACE, now=0.0)
    for _ in range(6):
        bucket.spend()
    assert bucket.available(0.0) == 0
    assert bucket.available(0.002) == 0
    assert bucket.available(0.004) == 2
    assert bucket.available(9.0) == 4


def test_lateness_lowers_the_rate_and_quiet_raises_it() -> None:
    """Judged once per interval by its worst moment, within bounds."""
    bucket = TokenBucket(PACE, now=0.0)
    bucket.record_lateness(0.5)
    bucket.adjust(0.05, 1, scarce=False)
    assert bucket.per_second == 1000
    bucket.adjust(0.11, 1, scarce=False)
    assert bucket.per_second == 800
    for interval in range(2, 40):
        bucket.record_lateness(0.02)
        bucket.adjust(0.11 * interval, 1, scarce=False)
    assert bucket.per_second == 100
    bucket.adjust(9.0, 1, scarce=False)
    assert bucket.per_second == 105


@pytest.mark.parametrize(
    ("streams", "per_second"), [(1, 100), (9, 100), (16, 100), (49, 245), (150, 750), (500, 1000)]
)
def test_on_a_busy_machine_each_stream_still_posts_in_time(streams: int, per_second: float) -> None:
    """The rate falls to a piece of each stream every `longest_interval_s` at most, within the bounds."""
    bucket = TokenBucket(PACE, now=0.0)
    for interval in range(1, 40):
        bucket.adjust(0.11 * interval, streams, scarce=True)
    assert bucket.per_second == per_second


@pytest.mark.parametrize(
    ("streams", "per_second"), [(0, 200), (8, 200), (32, 396), (128, 792), (256, 1422), (400, 2222), (800, 2500)]
)
def test_the_lowest_rate_balances_the_cost_of_posts_and_the_wait_of_ends(streams: int, per_second: float) -> None:
    """With the default limits."""
    assert round(PostRateLimits().least(streams)) == per_second


async def test_a_busy_machine_lowers_the_rate_of_pieces_that_need_not_wait() -> None:
    """Where every permit is free at once, no timer runs that could be late."""
    now = 0.0
    scheduler = PostScheduler(PACE, lambda: now, scarce=lambda: True)
    with scheduler.stream():
        for step in range(40):
            now = 0.2 * step
            await scheduler.acquire(urgent=False)
            scheduler.release()
    assert scheduler.bucket.per_second == 100


async def test_permits_are_granted_in_the_order_of_asking_and_bounded() -> None:
    """Two POSTs on their way at most; the next begins when one ends."""
    scheduler = PostScheduler(PACE, asyncio.get_running_loop().time)
    order: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def post(name: str, until: asyncio.Event) -> None:
        await scheduler.acquire(urgent=False)
        order.append(name)
        await until.wait()
        scheduler.release()

    async with asyncio.TaskGroup() as group:
        for name, until in (("a", first), ("b", second), ("c", second), ("d", second)):
            group.create_task(post(name, until))
        await asyncio.sleep(0.02)  # a bound that is never passed has no event to wait for
        assert order == ["a", "b"]
        first.set()
        second.set()
    assert order == ["a", "b", "c", "d"]


async def test_a_first_piece_does_not_wait() -> None:
    """Urgent scheduler pass the bounds."""
    scheduler = PostScheduler(PACE, asyncio.get_running_loop().time)
    for _ in range(5):
        await scheduler.acquire(urgent=True)


async def test_a_permit_granted_to_a_cancelled_stream_is_released() -> None:
    """Otherwise cancelled jobs would starve the others."""
    scheduler = PostScheduler(PACE, asyncio.get_running_loop().time)
    await scheduler.acquire(urgent=True)
    await scheduler.acquire(urgent=True)
    waiting = asyncio.create_task(scheduler.acquire(urgent=False))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    scheduler.release()
    scheduler.release()
    for _ in range(2):
        await scheduler.acquire(urgent=False)
