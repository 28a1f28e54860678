"""Http mode in front of an attached engine: the guard as a reverse proxy, its requests recorded in this process."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.supervision.attached_engine import AttachedEngine
from worker_vllm.modes.http_requests import HttpRequests
from worker_vllm.modes.job_observation import JobObservation
from worker_vllm.observability.metric_names import Served
from worker_vllm.settings.types import Settings
from worker_vllm.web.reverse_proxy import run_proxy

log = logging.getLogger(__name__)


def serve_proxy(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    """Serve the guard in front of ENGINE_URL on these listening sockets until SIGTERM; the exit status after it."""
    uvloop.run(_serve(settings, sockets))
    return 0


async def _serve(settings: Settings, sockets: Sequence[socket.socket]) -> None:
    token = secrets.token_hex(16)
    engine = AttachedEngine(HttpEngine(settings.engine.url or ""))
    running = asyncio.create_task(engine.run(), name="engine")
    observation = JobObservation(settings, engine, Served.ALWAYS)
    observation.read_requests(HttpRequests(observation.ledger, token, ()))
    try:
        async with AsyncExitStack() as cleanup:
            await observation.expose(cleanup, {})
            await run_proxy(settings, sockets, observation.reports.take, token)
            log.info("stopped: every request has ended, or its time was over")
    finally:
        await engine.stop()
        await asyncio.wait([running])
        await observation.close()
        log.info("the worker ends with status 0")
