"""Http mode: the receipt of the start, and the bundle of an engine that was killed under a client's request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import aiohttp
import pytest

from tests.support.http import Answer, Http
from tests.support.http_mode import COMPLETION, free_port, http_worker

pytestmark = pytest.mark.timeout(30)

PROMPT = "the colour of my bank card"
ENDLESS = {
    **COMPLETION,
    "prompt": PROMPT,
    "max_tokens": 10_000,
    "stream": True,
    "ignore_eos": True,
    "echo": {"tpot_ms": 5},
}


async def first_answer(metrics: Http) -> Answer:
    """What /start says as soon as the worker listens there."""
    while True:
        with contextlib.suppress(aiohttp.ClientConnectorError):
            return await metrics.get("/start")
        await asyncio.sleep(0.01)


async def test_a_request_that_went_past_the_worker_is_in_the_bundle_by_its_id(tmp_path: Path) -> None:
    """The guard has reported it. /start has no receipt before the engine is ready, and one afterwards."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "volume").mkdir()
    places = {"HOME": str(tmp_path), "BASE_PATH": str(tmp_path / "volume"), "LOG_FORMAT": "json"}
    with http_worker({**places, "METRICS_ADDRESS": address, "ECHO_START_DELAY_S": "1"}) as worker:
        await worker.listening()
        async with Http(f"http://{address}") as metrics:
            early = await first_answer(metrics)
            assert (early.status, "has not been ready yet" in early.json["error"]) == (404, True)
            await asyncio.to_thread(worker.process.line, "receipt of the start: ")
            found = (await metrics.get("/start")).json
        assert [each["phase"] for each in found["phases"]] == ["worker", "warm-up /v1/completions"]
        await worker.until(200)
        async with Http(f"http://127.0.0.1:{worker.port}", {"X-Request-Id": "request-7"}) as http:
            async with http.open("POST", "/v1/completions", ENDLESS) as answer:
                await answer.content.readany()
                worker.kill_engine()
                line = await asyncio.to_thread(worker.process.line, "engine's death is in ")
    text = Path(json.loads(line)["message"].split(" is in ")[1].split(";")[0]).read_text()
    listed = [(each["job"], each["path"]) for each in json.loads(text)["requests_in_flight"]]
    assert listed == [("request-7", "/v1/completions")]
    assert PROMPT not in text
