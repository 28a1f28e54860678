"""Lines that are logged for a job have its id; the stop of a worker, its drain and its exit are logged."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.support.http import Http
from tests.support.observed import observed_worker

pytestmark = pytest.mark.timeout(30)

ECHO = {"ENGINE": "echo", "MODEL_NAME": "parrot", "MAX_NUM_SEQS": "8", "LOG_LEVEL": "DEBUG"}
PROMPT = "a prompt that is in no line"


async def test_a_job_has_its_id_on_every_line_and_its_text_on_none() -> None:
    """At DEBUG the delivery has a line of its own; at no level has one the prompt, which is the echo's answer too."""
    with observed_worker(ECHO, traced=False) as observed:
        async with Http(observed.gateway) as http:
            job_id = (await http.post("/runsync", {"input": {"prompt": PROMPT}})).json["id"]
        line = await asyncio.to_thread(observed.line_of, job_id)
        assert (line["outcome"], line["kind"], "trace_id" in line) == ("completed", "native", False)
        observed.process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(observed.process.exit_code) == 0
        output = observed.process.output()
    parsed = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert all(line.get("requestId") == job_id for line in parsed if job_id in line["message"])
    assert [
        line["message"].partition(":")[0].partition(", bytes")[0]
        for line in parsed
        if line.get("requestId") == job_id
    ] == [
        f"job={job_id} delivered, COMPLETED",
        "job completed",
    ]
    assert PROMPT not in output
    messages = [line["message"] for line in parsed]
    assert "stop signal: no more jobs are taken; 0 here may take 25 s to end" in messages
    assert any(message.startswith("drained in ") for message in messages)
    assert messages[-1] == "the worker ends with status 0"
