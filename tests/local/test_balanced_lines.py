"""`worker-vllm local --mode http` prints a line for each request, as it does for the jobs of a queue."""

from __future__ import annotations

import asyncio
import json
import re
import sys

import pytest

from tests.support.http import Http
from tests.support.processes import Process, running

LOCAL = (
    sys.executable,
    "-m",
    "worker_vllm",
    "local",
    "--port",
    "0",
    "--ephemeral",
    "--mode",
    "http",
    "--engine",
    "echo",
)
ROUTE = "/v1/chat/completions"
TIMES = r"wait \d\.\d\d s  first (?:\d\.\d\d s|–)  total \d\.\d\d s"


async def printed(process: Process, part: str) -> str:
    """The first line with this part."""
    return await asyncio.to_thread(process.line, part, 10)


@pytest.mark.timeout(60)
async def test_a_line_for_each_request_behind_the_load_balancer() -> None:
    """With its tokens, streamed or not, and the hint of a refusal; `worker-vllm jobs` reads the same."""
    with running(LOCAL) as process:
        url = process.line("Ready: ").split("Ready: ")[1].strip()
        model = (re.search(r'"model": ?"([^"]+)"', process.line('"model"')) or [""])[1]
        asked = {"model": model, "messages": [{"role": "user", "content": "one two three"}]}
        async with Http(url, {"X-Request-Id": "asked-1"}) as http:
            assert (await http.post(ROUTE, asked)).status == 200
            whole = await printed(process, "asked-1")
        async with Http(url, {"X-Request-Id": "asked-2"}) as http:
            streamed = asked | {"stream": True, "stream_options": {"include_usage": True}}
            assert (await http.post(ROUTE + "?key=s3cret", streamed)).status == 200
            stream = await printed(process, "asked-2")
            assert (await http.post(ROUTE, asked | {"model": "nope"})).status == 404
            refused = await printed(process, "  404  ")
        async with Http(url.removesuffix("/lb/local")) as http:
            rows = (await http.get("/console/api/requests")).json["requests"]
    pattern = rf"\d\d:\d\d:\d\d  200  {ROUTE}  worker-1  {TIMES}  \d+ → \d+ tokens  \d+\.\d/s  asked-"
    assert re.fullmatch(pattern + "1", whole), whole
    assert "first –" in whole
    assert re.fullmatch(pattern + "2", stream), stream
    assert "first –" not in stream
    assert re.match(rf"\d\d:\d\d:\d\d  404  {ROUTE}  worker-1  {TIMES}  – → – tokens", refused), refused
    assert "nope" in process.output()
    assert "s3cret" not in process.output()
    assert [(row["status"], row["route"], row["worker"]) for row in rows] == [
        ("200", ROUTE, "worker-1"),
        ("200", ROUTE, "worker-1"),
        ("404", ROUTE, "worker-1"),
    ], json.dumps(rows)
