"""Reports a fault to the platform before this worker exits or refuses every job: one ping with `status=unhealthy`.

runpod-python does so since 1.11 when one of its fitness checks fails (`rp_fitness.py`): one GET of the ping address,
2 s at most, and an error of it changes nothing.
"""

from __future__ import annotations

import logging
import urllib.error
import urllib.request

from worker_vllm import __version__
from worker_vllm.serverless.http.client import Platform
from worker_vllm.serverless.http.connection import NoAnswer, NotSent
from worker_vllm.serverless.protocol import Addresses
from worker_vllm.settings.types import QueueSettings

log = logging.getLogger(__name__)

REPORT_TIMEOUT_S = 2.0


async def report_fault(platform: Platform, addresses: Addresses, check: str, reason: str) -> None:
    """Report once; `check` names what failed. Does nothing where there is no ping address."""
    if addresses.ping_url is None:
        return
    try:
        answer = await platform.get(addresses.unhealthy(check, reason, __version__), REPORT_TIMEOUT_S)
    except (NotSent, NoAnswer) as error:
        log.warning("the fault (%s) could not be reported to the platform: %s", check, error)
    else:
        log.info("reported the fault (%s) to the platform: it answered %d", check, answer.status)


def report_wedged(settings: QueueSettings, reason: str) -> None:
    """As `report_fault`, from a thread, for a worker whose event loop is blocked. Raises nothing."""
    addresses = Addresses.of(settings)
    if addresses.ping_url is None:
        return
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the platform is reached without proxy
    try:
        url = addresses.unhealthy("event loop", reason, __version__)
        request = urllib.request.Request(url, headers={"Authorization": settings.api_key.reveal()})
        opener.open(request, timeout=REPORT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        log.warning("the blocked event loop could not be reported to the platform: %s", error)
