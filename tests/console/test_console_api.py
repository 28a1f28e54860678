"""The console's routes over HTTP, on a gateway without workers: who may call them, and what they answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.console.gateway_console import console_of
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.server.server import GatewayServer, listen

KEY = "a-key"
CHECK = "/console/api/check"
EMPTY_FORM = {"name": "demo", "engine": "echo", "values": {}}


@pytest.fixture
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of a gateway with its console; a parameter is the key that it requires."""
    gateway = Gateway(GatewayOptions(), key=getattr(request, "param", ""))
    console = console_of(gateway)
    listener = listen("127.0.0.1", 0)
    server = GatewayServer(gateway, listener, mounts=console.mounts)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        tasks.create_task(console.run())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        console.close()
        server.stop()


async def call(url: str, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    """Status and JSON of one request with these headers."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url + path, headers=headers, json=body) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith(("{", "[")) else text


async def token_of(url: str) -> str:
    """The token in the page."""
    _, page = await call(url, "GET", "/", {})
    found = re.search(r'name="console-token" content="([^"]+)"', page)
    assert found is not None
    return found[1]


async def test_the_page_allows_its_own_scripts_alone(url: str) -> None:
    """Its policy is on every answer, errors included."""
    async with Http(url) as http:
        for path in ("/", "/console/static/js/main.js", "/console/api/form", "/console/api/jobs/none/none"):
            answer = await http.get(path)
            assert answer.headers["content-security-policy"].startswith("default-src 'self'; "), path
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # curl: no browser
        ({"Origin": "{url}", "X-Console-Token": "{token}"}, 200),
        ({"Origin": "{url}"}, 403),
        ({"Origin": "{url}", "X-Console-Token": "wrong"}, 403),
        ({"Origin": "http://127.0.0.1:1", "X-Console-Token": "{token}"}, 403),  # a page of another port
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "rebound.example.com"}, 403),
    ],
)
async def test_only_the_page_itself_may_change_something(url: str, headers: dict[str, str], status: int) -> None:
    """Other pages, a page of an earlier start, and a rebound name are refused."""
    token = await token_of(url)
    filled = {name: value.format(url=url, token=token) for name, value in headers.items()}
    assert (await call(url, "POST", CHECK, filled, EMPTY_FORM))[0] == status


@pytest.mark.parametrize("path", ["/", "/console/static/js/main.js", "/console/api/feed"])
async def test_another_page_may_not_even_read(url: str, path: str) -> None:
    """Else it could read the token out of the page."""
    for headers in ({"Origin": "http://localhost:3000"}, {"Sec-Fetch-Site": "same-site"}):
        assert (await call(url, "GET", path, headers))[0] == 403


@pytest.mark.parametrize("url", [KEY], indirect=True)
async def test_with_a_key_the_page_loads_and_its_data_needs_the_key(url: str) -> None:
    """The page asks its user for the key; nothing but page and files is served without."""
    assert (await call(url, "GET", "/", {}))[0] == 200
    assert (await call(url, "GET", "/console/static/js/main.js", {}))[0] == 200
    for path in ("/console/api/form", "/console/api/workers", "/console/static/../api/form"):
        assert (await call(url, "GET", path, {}))[0] == 401
    assert (await call(url, "GET", "/console/api/form", {"Authorization": f"Bearer {KEY}"}))[0] == 200


@pytest.mark.parametrize(
    ("values", "field"),
    [({"MAX_MODEL_LEN": "8k tokens"}, "MAX_MODEL_LEN"), ({"MAX_NUM_SEQS": -1}, "MAX_NUM_SEQS")],
)
async def test_the_form_is_validated_as_by_config_check(url: str, values: dict[str, Any], field: str) -> None:
    """The problem names its field, what was got and expected, and what to change."""
    status, report = await call(url, "POST", CHECK, {}, {**EMPTY_FORM, "values": values})
    assert (status, report["ok"], report["outputs"]) == (200, False, {})
    assert [problem["field"] for problem in report["problems"]] == [field]
    assert report["problems"][0]["text"].startswith(f'{field}="{values[field]}": expected ')


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({**EMPTY_FORM, "values": {"LD_PRELOAD": "x"}}, 400, "LD_PRELOAD: not a field of the form"),
        (
            {**EMPTY_FORM, "values": {"PATH": "x", "PYTHONPATH": "y"}},
            400,
            "PATH, PYTHONPATH: not a field of the form",
        ),
        ({**EMPTY_FORM, "engine": "/bin/sh"}, 400, "engine='/bin/sh': expected one of echo, vllm"),
        ({**EMPTY_FORM, "values": {"MODEL_NAME": ["x"]}}, 400, "MODEL_NAME: expected a text, a number or a switch"),
        ([], 400, 'expected {"name": text, "engine": text, "kind": text, "values": {variable: value}}'),
    ],
)
async def test_what_is_not_of_the_form_is_refused(url: str, body: Any, status: int, sentence: str) -> None:
    """No variable but the form's own reaches a process."""
    assert await call(url, "POST", CHECK, {}, body) == (status, {"error": sentence})


async def test_a_gateway_without_workers_starts_none(url: str) -> None:
    """And says which command does."""
    answer = await call(url, "POST", "/console/api/deployments", {}, EMPTY_FORM)
    assert answer == (409, {"error": "this gateway starts no workers: `worker-vllm local` does"})


async def test_a_jobs_page_shows_its_steps(url: str) -> None:
    """Queued, taken, pieces, end; input and output; an unknown job is a 404."""
    async with Http(url) as http:
        worker = FakeWorker(http)
        job_id = (await http.post("/v2/local/run", {"input": {"prompt": "hi"}})).json["id"]
        await worker.take()
        await worker.piece(job_id, "a")
        await worker.piece(job_id, "b")
        await worker.done(job_id, {"output": ["a", "b"]})
        page = (await http.get(f"/console/api/jobs/local/{job_id}")).json
        assert [step["name"] for step in page["steps"]] == [
            "queued",
            "taken",
            "first piece",
            "last piece",
            "completed",
        ]
        assert (page["input"], page["output"], page["worker"], page["pieces"]) == (
            {"prompt": "hi"},
            ["a", "b"],
            "w1",
            2,
        )
        assert (await http.get("/console/api/jobs/local/none")).status == 404
        assert (await http.get("/console/api/jobs/none/none")).status == 404


async def test_a_job_of_a_lost_worker_shows_the_loss(url: str) -> None:
    """The retry and its cause stand between the two takes."""
    async with Http(url) as http:
        job_id = (await http.post("/v2/local/run", {"input": {"prompt": "hi"}})).json["id"]
        await FakeWorker(http).take()
        for _ in range(2):
            await FakeWorker(http).ping()
        await FakeWorker(http, "w2").take()
        steps = (await http.get(f"/console/api/jobs/local/{job_id}")).json["steps"]
        assert [(step["name"], step["detail"]) for step in steps] == [
            ("queued", ""),
            ("taken", "w1"),
            ("queued again", "worker w1 was lost"),
            ("taken", "w2"),
        ]


async def test_the_feed_sends_what_changed(url: str) -> None:
    """First everything; then a job's row again for each change, and nothing else."""
    async with Http(url) as http, http.open("GET", "/console/api/feed") as feed:
        first = (await http.post("/v2/local/run", {"input": {"prompt": "hello there"}})).json["id"]
        seen: list[Any] = []
        while not any(row["id"] == first and row["state"] == "CANCELLED" for row in seen):
            event = (await feed.content.readuntil(b"\n\n")).decode()
            if event.startswith("event: jobs"):
                seen += json.loads(event.partition("data: ")[2])["changed"]
            if seen and seen[-1]["state"] == "IN_QUEUE":
                assert (await http.post(f"/console/api/jobs/local/{first}/cancel")).json["status"] == "CANCELLED"
        assert [row["state"] for row in seen] == ["IN_QUEUE", "CANCELLED"]
        assert (seen[0]["kind"], seen[0]["preview"], seen[0]["endpoint"]) == ("native", "hello there", "local")
