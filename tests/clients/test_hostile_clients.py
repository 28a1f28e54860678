"""Hostile jobs through the whole path: only open routes reach the engine, and the worker stays up."""

from __future__ import annotations

import json
import random

import pytest

from tests.jobs.run.test_hostile import OPEN, job
from tests.support.http import Http
from tests.support.stack import serve_echo

JOBS = 500
FINISHED = ("COMPLETED", "FAILED")


@pytest.mark.timeout(120)
async def test_hostile_jobs_affect_no_other_job_on_the_whole_path() -> None:
    """The platform refuses what is no JSON object; every other job ends, and the next honest one is right."""
    dice = random.Random(7)
    with serve_echo() as up:
        async with Http(up.url) as http, Http(up.engine_url) as engine:
            before = (await http.post("/runsync", {"input": {"prompt": "fine"}})).json
            for _ in range(JOBS):
                answer = await http.post("/runsync", json.dumps(job(dice)).encode())
                assert answer.status == 400 or answer.json["status"] in FINISHED, answer
            after = (await http.post("/runsync", {"input": {"prompt": "fine"}})).json
            asked = {request["path"] for request in (await engine.get("/echo/requests")).json}
    assert after["output"] == before["output"]
    assert after["workerId"] == before["workerId"]
    assert asked <= OPEN | {"/health", "/metrics", "/v1/models"}
    assert len(asked) > 5
