"""`/metrics` for Prometheus: the worker's own metrics and the engine's, read at each request.

A scraper that accepts OpenMetrics gets it, with exemplars, whichever of the two formats the engine answers in.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

from worker_vllm.observability.openmetrics_text import as_openmetrics

log = logging.getLogger(__name__)

NO_RECEIPT = "this worker has no receipt: its engine has not been ready yet, or runs elsewhere (ENGINE_URL)"
OPENMETRICS = "application/openmetrics-text"
END = b"# EOF\n"

# The engine's metrics in the format that the Accept header asks for, or in another one that it has.
EngineText = Callable[[str], Awaitable[bytes]]


@asynccontextmanager
async def metrics_at(
    address: tuple[str, int],
    registry: CollectorRegistry,
    engine_text: EngineText,
    receipt: Callable[[], Mapping[str, Any] | None] = lambda: None,
) -> AsyncIterator[None]:
    """Serve the metrics of `registry`, followed by the engine's, for as long as the context lasts.

    `/start` is the receipt of the engine's last start. The names in `registry` must differ from the engine's. An
    address that cannot be bound is logged as an error; the worker goes on without metrics.
    """

    async def answer(request: web.Request) -> web.Response:
        accepted = request.headers.get("Accept", "")
        engine = await engine_text(accepted)
        body, kind = exposition(registry, engine, accepted)
        return web.Response(body=body, headers={"Content-Type": kind})

    async def start(_: web.Request) -> web.Response:
        found = receipt()
        return web.json_response({"error": NO_RECEIPT}, status=404) if found is None else web.json_response(found)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    app.router.add_get("/start", start)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, *address).start()
    except OSError as error:
        log.error(
            "METRICS_ADDRESS=%s:%d cannot be bound: %s; set a free port and an address of this machine",
            *address,
            error.strerror,
        )
    try:
        yield
    finally:
        await runner.cleanup()


def exposition(registry: CollectorRegistry, engine: bytes, accepted: str) -> tuple[bytes, str]:
    """Both texts as one, and their content type."""
    if OPENMETRICS in accepted:
        own: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
        others = engine if engine.endswith(END) else as_openmetrics(engine) + END
        return own.removesuffix(END) + others, openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(registry) + engine.removesuffix(END), CONTENT_TYPE_PLAIN_0_0_4
