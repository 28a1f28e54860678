"""A blocked event loop is noticed from outside it; a frozen process is not mistaken for one."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from worker_vllm.serverless.loop_watchdog import Watchdog, WatchdogLimits

QUICK = WatchdogLimits(tick_s=0.02, alarm_s=0.1, give_up_s=0.3)


async def test_a_blocked_loop_is_reported_with_its_place_and_then_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the code that blocks; one alarm per blockage."""
    wedged = threading.Event()
    watchdog = Watchdog(QUICK, wedged.set)
    watchdog.start()
    with caplog.at_level(logging.ERROR):
        assert wedged.wait(5)  # blocks the loop, which is the point
    watchdog.stop()
    assert watchdog.alarms == 1
    assert "test_a_blocked_loop_is_reported" in caplog.text


async def test_a_loop_that_runs_is_not_reported() -> None:
    """However busy: short blockages are normal."""
    watchdog = Watchdog(QUICK, lambda: pytest.fail("given up"))
    watchdog.start()
    for _ in range(20):
        time.sleep(0.02)
        await asyncio.sleep(0.01)
    watchdog.stop()
    assert watchdog.alarms == 0
