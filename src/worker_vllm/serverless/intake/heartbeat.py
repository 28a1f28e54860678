"""The sign of life, sent by the event loop itself: a loop that is wedged falls silent.

runpod-python 1.12 names every job in one URL, however long, in a GET of its own process every interval (`rp_ping.py`:
`params={"job_id": "a,b,c"}`). 300 ids make 13.5 KB, and common servers refuse request lines over 8 KB, most often
with 414: then the official worker's heartbeat fails for as long as it holds so many jobs. Here the whole list is
tried first too, since a platform may take a job that a ping does not name for lost; one that refuses it for its
length hears the list in parts, one after the other within the same interval.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from worker_vllm import __version__
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent
from worker_vllm.serverless.protocol import Addresses

log = logging.getLogger(__name__)

SHORTEST_INTERVAL_S = 1.0
LONGEST_LINE = 8_000  # bytes of an address that every common server takes
TOO_LONG = (400, 413, 414, 431)  # how servers refuse a longer one, where they do not just close the connection


async def send_pings(
    platform: Platform, addresses: Addresses, interval_s: float, held: Callable[[], Iterable[str]]
) -> None:
    """Ping every `interval_s` with the ids that `held` names, for ever; without a ping address return at once."""
    if addresses.ping_url is None:
        return
    interval_s = max(SHORTEST_INTERVAL_S, interval_s)
    in_parts = False
    while True:
        job_ids = tuple(held())
        whole = addresses.ping(job_ids, __version__)
        parts = [whole] if len(whole) <= LONGEST_LINE else addresses.pings(job_ids, __version__, LONGEST_LINE)
        if len(parts) == 1 or not in_parts:
            status = await _ping(platform, whole, 2 * interval_s)
            if status in TOO_LONG and len(parts) > 1:
                in_parts = True
                log.info("pings name their %d jobs in parts of %d bytes from now on", len(job_ids), LONGEST_LINE)
            elif status is not None:
                parts = []
        if len(parts) > 1:
            for part in parts:
                await _ping(platform, part, 2 * interval_s)
        await asyncio.sleep(interval_s)


async def _ping(platform: Platform, url: str, timeout_s: float) -> int | None:
    """Ping once; the answer's status, 0 where there was no connection, None where the ping got no answer."""
    try:
        answer = await platform.get(url, timeout_s)
    except (NotSent, NoAnswer) as error:
        log.warning("ping failed: %s", error)
        return 0 if isinstance(error, NotSent) else None
    if answer.status >= 400:
        log.warning("ping of %d bytes refused with HTTP %d", len(url), answer.status)
    return answer.status
