"""Who may post, how often: fewer and larger pieces on a machine that is short of CPU."""

from __future__ import annotations

import asyncio

from worker_vllm.serverless.delivery.post_rate import PostRateLimits, PostScheduler, TokenBucket

PACE = PostRateLimits(
    max_per_second=1000, min_per_second=100, burst=4, max_in_flight=2, late_s=0.01, adjust_interval_s=0.1
)


def test_an_allowance_fills_up_to_one_burst() -> None:
    """Four at once, then one a millisecond; an urgent piece may overdraw."""
    bucket = TokenBucket(PACE, now=0.0)
    for _ in range(6):
        bucket.spend()
    assert bucket.available(0.0) == 0
    assert bucket.available(0.002) == 0
    assert bucket.available(0.004) == 2
    assert bucket.available(9.0) == 4


def test_lateness_lowers_the_rate_and_quiet_raises_it() -> None:
    """Judged once per review by its worst moment, within bounds."""
    bucket = TokenBucket(PACE, now=0.0)
    bucket.record_lateness(0.05, 0.5)
    assert bucket.per_second == 1000
    bucket.record_lateness(0.11, 0.0)
    assert bucket.per_second == 800
    for review in range(2, 40):
        bucket.record_lateness(0.11 * review, 0.02)
    assert bucket.per_second == 100
    bucket.record_lateness(9.0, 0.0)
    assert bucket.per_second == 105


async def test_turns_are_given_in_the_order_of_asking_and_bounded() -> None:
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


async def test_a_first_piece_waits_for_nobody() -> None:
    """Urgent scheduler pass the bounds."""
    scheduler = PostScheduler(PACE, asyncio.get_running_loop().time)
    for _ in range(5):
        await scheduler.acquire(urgent=True)


async def test_a_turn_granted_to_a_cancelled_stream_is_given_back() -> None:
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
