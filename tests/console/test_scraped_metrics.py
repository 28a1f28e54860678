"""The figures of workers: read while workers come and go, and in the plots of load-balanced ones."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.support.http import Http
from tests.support.processes import running
from worker_vllm.console.workers.scraped_metrics import MetricsReader, WorkerFigures

LOCAL = (sys.executable, "-m", "worker_vllm", "local", "--port", "0", "--ephemeral")
ASKED = {"model": "echo", "messages": [{"role": "user", "content": "a word " * 50}], "max_tokens": 100}


async def test_a_worker_that_starts_while_others_are_read_is_read_next_time() -> None:
    """The addresses are those of the running workers, which change at any time."""
    addresses: dict[str, str] = {}

    async def answer(_: web.Request) -> web.Response:
        addresses["w2"] = addresses["w1"]
        return web.Response(text="worker_jobs_window 64.0\n")

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader = MetricsReader()
    try:
        host, port = runner.addresses[0][:2]
        addresses["w1"] = f"{host}:{port}"
        assert await reader.read(addresses) == {"w1": WorkerFigures(64.0)}
        assert await reader.read(addresses) == {"w1": WorkerFigures(64.0), "w2": WorkerFigures(64.0)}
    finally:
        await reader.close()
        await runner.cleanup()


async def points_of(http: Http, endpoint: str) -> AsyncIterator[dict[str, Any]]:
    """The points of an endpoint's plots, as the feed brings them."""
    async with http.open("GET", "/console/api/feed") as feed:
        name = ""
        async for line in feed.content:
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: ") and name == "samples":
                for point in json.loads(line[6:]).get(endpoint, ()):
                    yield point


@pytest.mark.timeout(40)
async def test_load_balanced_workers_have_plots() -> None:
    """A load-balancing endpoint has no jobs, so its figures are those that its workers report."""
    with running([*LOCAL, "--mode", "http", "--engine", "echo"], {"ECHO_TPOT_MS": "20"}) as process:
        url = process.line("Ready: ").split("Ready: ")[1].strip()
        async with Http(url.removesuffix("/lb/local")) as http:
            asking = asyncio.create_task(ask_again_and_again(http))
            seen: set[str] = set()
            try:
                async for point in points_of(http, "local"):
                    seen |= {name for name in ("tokens_per_s", "kv_used", "jobs_per_s") if point[name]}
                    assert point["queue_delay_s"] is None
                    if len(seen) == 3:
                        break
            finally:
                asking.cancel()
                await asyncio.wait([asking])


async def ask_again_and_again(http: Http) -> None:
    """Send requests until cancelled."""
    while True:
        answer = await http.post("/lb/local/v1/chat/completions", ASKED)
        assert answer.status == 200, answer.body
