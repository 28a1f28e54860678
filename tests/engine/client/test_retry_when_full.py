"""Requests that a full engine refuses are repeated, since only this worker can run the job."""

from __future__ import annotations

import json

from tests.support.engines.echo import echo_engine
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.engine.client.retry_when_full import RetryWhenFull
from worker_vllm.engine.interface import EngineRequest

BODY = json.dumps({"model": "echo", "prompt": "hello"}).encode()
ASK = EngineRequest("POST", "/v1/completions", BODY, {"Content-Type": "application/json"})


async def test_a_full_engine_is_retried_and_its_refusals_are_counted() -> None:
    """Two refusals, then the answer: the caller gets only the answer, admission is informed of both refusals."""
    refusals: list[int] = []
    async with echo_engine() as engine:
        client = HttpEngine(engine.url)
        retrying = RetryWhenFull(client, lambda: refusals.append(1), lambda: 0.0)
        await engine.script({"status": 503, "message": "full"}, times=2)
        response = await retrying.request(ASK)
        answer = json.loads(await response.read())
        asked = [r["path"] for r in await engine.requests()]
        await client.aclose()
    assert response.status == 200
    assert answer["choices"][0]["text"] == "hello"
    assert refusals == [1, 1]
    assert asked == ["/v1/completions"] * 3


async def test_other_errors_are_answers() -> None:
    """Only a full queue (429, 503) is waited for."""
    async with echo_engine() as engine:
        client = HttpEngine(engine.url)
        retrying = RetryWhenFull(client, lambda: None, lambda: 0.0)
        await engine.script({"status": 500, "message": "broken"}, times=1)
        response = await retrying.request(ASK)
        response.close()
        await client.aclose()
    assert response.status == 500
