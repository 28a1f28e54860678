"""The load balancer in front of two real engines: a drained and a killed worker under constant traffic."""

from __future__ import annotations

import pytest

from tests.local.fleet.stack import fleet
from tests.local.fleet.traffic import traffic
from tests.support.engines.real import SETTINGS

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(480)]

HTTP = ("--mode", "http", "--workers", "2", "--set", "balancer.poll_s=0.2", "--ephemeral")


async def test_no_accepted_request_is_lost_with_the_real_engine() -> None:
    """Every answer is the client's own text, whole; the other worker serves while one is replaced."""
    environment = {**SETTINGS, "HF_HUB_OFFLINE": "1"}
    async with fleet(*HTTP, environment=environment, engine="vllm", start_s=300) as stack:
        await stack.until_serving(2)
        async with traffic(stack, 4, model="parrot") as clients:
            await clients.more(20)
            assert (await stack.operate("worker-1", "drain")).status == 202
            await stack.until_gone("worker-1")
            await clients.more(20)
            await stack.until_serving(2)
            assert (await stack.operate("worker-2", "kill")).status == 202
            await stack.until_gone("worker-2")
            await clients.more(20)
        assert clients.lost == []
        assert {"worker-1", "worker-2"} < set(clients.answered)
