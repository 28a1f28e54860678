"""The sign of life, sent by the event loop itself: a loop that is wedged falls silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from worker_vllm import __version__
from worker_vllm.serverless.exchange import NoAnswer, NotSent
from worker_vllm.serverless.platform import Platform
from worker_vllm.serverless.wire import Addresses

log = logging.getLogger(__name__)

SHORTEST_INTERVAL_S = 1.0


async def beat(
    platform: Platform, addresses: Addresses, interval_s: float, held: Callable[[], Iterable[str]]
) -> None:
    """Ping every `interval_s` with the ids that `held` names, for ever; without a ping address return at once."""
    if addresses.ping_url is None:
        return
    interval_s = max(SHORTEST_INTERVAL_S, interval_s)
    while True:
        try:
            answer = await platform.get(addresses.ping(held(), __version__), 2 * interval_s)
            if answer.status >= 400:
                log.warning("ping refused with HTTP %d", answer.status)
        except (NotSent, NoAnswer) as error:
            log.warning("ping failed: %s", error)
        await asyncio.sleep(interval_s)
