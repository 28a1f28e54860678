"""The figures of workers, read while workers come and go."""

from __future__ import annotations

from aiohttp import web

from worker_vllm.console.workers.scraped_metrics import MetricsReader, WorkerFigures


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
