"""What became of a job's webhook, as the job's page tells it; against a receiver that fails first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.http import Http
from tests.support.webhook_receiver import receiving
from worker_vllm.console.gateway_console import console_of
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import GatewayServer, listen

QUICK = GatewayOptions(webhook_pause_s=0.01)


@asynccontextmanager
async def console() -> AsyncIterator[Http]:
    """A client of a gateway with a console."""
    gateway = Gateway(QUICK, new_id=lambda: "job1")
    pages = console_of(gateway)
    listener = listen("127.0.0.1", 0)
    server = GatewayServer(gateway, listener, mounts=pages.mounts)
    serving = asyncio.create_task(server.serve())
    try:
        async with Http(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            yield http
    finally:
        pages.close()
        server.stop()
        await serving


async def settled(http: Http) -> dict[str, Any]:
    """The page of the job once nothing more is to happen to its webhook."""
    while True:
        page: dict[str, Any] = (await http.get("/console/api/jobs/local/job1-u1")).json
        if page["webhook"]["state"] not in ("sending", "trying again"):
            return page


@pytest.mark.parametrize(
    ("answers", "steps", "record"),
    [
        ([], ["200, try 1 of 3"], {"state": "delivered", "tries": 1, "answer": "200"}),
        (
            [503, 404],
            ["503, try 1 of 3", "404, try 2 of 3", "200, try 3 of 3"],
            {"state": "delivered", "tries": 3, "answer": "200"},
        ),
        (
            [500, 500, 418],
            ["500, try 1 of 3", "500, try 2 of 3", "418, try 3 of 3"],
            {"state": "given up", "tries": 3, "answer": "418"},
        ),
    ],
    ids=["at once", "after two failures", "never"],
)
async def test_the_way_of_a_job_ends_with_its_webhook(
    answers: list[int], steps: list[str], record: dict[str, Any]
) -> None:
    """Each try with its answer; the last one says whether it was delivered or given up."""
    async with receiving() as receiver, console() as http:
        receiver.answers = list(answers)
        await http.post("/v2/local/run", {"input": 1, "webhook": f"{receiver.url}?secret=s3cret"})
        await http.post("/v2/local/cancel/job1-u1")
        page = await settled(http)
        assert page["webhook"] == record
        shown = [(step["name"], step["detail"], step["tone"]) for step in page["steps"]]
        last = ("webhook delivered", "good") if record["state"] == "delivered" else ("webhook given up", "poor")
        expected = [("webhook failed", detail, "warn") for detail in steps[:-1]] + [(last[0], steps[-1], last[1])]
        assert shown[-len(steps) - 1 :] == [("webhook", "127.0.0.1", ""), *expected]
        assert "s3cret" not in str(page)
        assert receiver.got.qsize() == len(steps)


async def test_a_webhook_that_nobody_listens_to_says_so() -> None:
    """With the reason, and without the address, which may hold a secret."""
    async with console() as http:
        await http.post("/v2/local/run", {"input": 1, "webhook": "http://127.0.0.1:9/?secret=s3cret"})
        await http.post("/v2/local/cancel/job1-u1")
        page = await settled(http)
        assert (page["webhook"]["state"], page["webhook"]["tries"]) == ("given up", 3)
        assert page["webhook"]["answer"].startswith("ClientConnectorError")
        assert "s3cret" not in str(page)


async def test_a_job_without_a_webhook_has_none() -> None:
    """And one that has not ended waits with it."""
    async with console() as http:
        await http.post("/v2/local/run", {"input": 1, "webhook": "http://127.0.0.1:9/"})
        page = (await http.get("/console/api/jobs/local/job1-u1")).json
        assert page["webhook"] == {"state": "not due", "tries": 0, "answer": ""}
    async with console() as http:
        await http.post("/v2/local/run", {"input": 1})
        assert (await http.get("/console/api/jobs/local/job1-u1")).json["webhook"] is None
