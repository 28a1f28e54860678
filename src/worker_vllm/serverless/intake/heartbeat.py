"""Heartbeats, sent from the event loop itself, so that a worker whose event loop is blocked sends none.

runpod-python 1.12 lists every job in one URL, however long, in a GET of its own process every interval (`rp_ping.py`:
`params={"job_id": "a,b,c"}`). 300 ids make 13.5 KB, and common servers refuse request lines over 8 KB, most often
with 414: the official worker's heartbeat then fails for as long as it holds so many jobs. Here the complete list is
tried first too, since a platform may treat a job that a ping does not list as lost; a platform that refuses it for
its length gets the list in parts, one after the other within one interval. Failed pings are logged by `OutageLog`.
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

MIN_INTERVAL_S = 1.0
MAX_LINE_BYTES = 8_000  # of an address; every common server accepts as many
TOO_LONG_STATUSES = (
    400,
    413,
    414,
    431,
)  # refusals of a longer one, by servers that do not just close the connection


async def send_pings(
    platform: Platform, addresses: Addresses, interval_s: float, job_ids: Callable[[], Iterable[str]]
) -> None:
    """Ping every `interval_s` with the ids that `job_ids` returns, until cancelled.

    Returns at once where there is no ping address.
    """
    if addresses.ping_url is None:
        return
    interval_s = max(MIN_INTERVAL_S, interval_s)
    in_parts = False
    while True:
        ids = tuple(job_ids())
        complete = addresses.ping(ids, __version__)
        parts = [complete] if len(complete) <= MAX_LINE_BYTES else addresses.pings(ids, __version__, MAX_LINE_BYTES)
        if len(parts) == 1 or not in_parts:
            status = await _ping(platform, complete, 2 * interval_s)
            if status in TOO_LONG_STATUSES and len(parts) > 1:
                in_parts = True
                log.info("pings list their %d jobs in parts of %d bytes from now on", len(ids), MAX_LINE_BYTES)
            elif status is not None:
                parts = []
        if len(parts) > 1:
            for part in parts:
                await _ping(platform, part, 2 * interval_s)
        await asyncio.sleep(interval_s)


async def _ping(platform: Platform, url: str, timeout_s: float) -> int | None:
    """Ping once. Returns the answer's status, 0 where there was no connection, None where there was no answer."""
    try:
        return (await platform.get(url, timeout_s)).status
    except NotSent:
        return 0
    except NoAnswer:
        return None
