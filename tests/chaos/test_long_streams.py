"""A stream longer than the platform takes as a result, through gateway, worker and engine."""

from __future__ import annotations

import json

import pytest

from tests.chaos.client_sync import FINAL, Endpoint
from tests.support.attached import gateway_process, worker_environment, worker_process

TOKENS = 60_000  # of about 370 bytes an event, for its log-probabilities


@pytest.mark.timeout(60)
def test_a_stream_of_more_than_twenty_megabytes_arrives_whole() -> None:
    """Every event of it is a piece's; the job is COMPLETED, with an empty aggregate."""
    prompt = "".join(chr(ord("a") + n % 26) for n in range(TOKENS))
    body = {"model": "echo", "prompt": prompt, "max_tokens": TOKENS, "stream": True, "logprobs": 5}
    text, size = [], 0
    with gateway_process() as url:
        environment = {
            **worker_environment(url, "w1"),
            "ENGINE": "echo",
            "MODEL_NAME": "echo",
            "MAX_MODEL_LEN": "200000",
        }
        with worker_process(environment):
            endpoint = Endpoint(url)
            job_id = endpoint.run(openai_route="/v1/completions", openai_input=body)
            status, last_events = "", ""
            while status not in FINAL:
                found = endpoint.ask(f"/stream/{job_id}?wait=5000")
                status = found["status"]
                events = "".join(piece["output"] for piece in found["stream"])
                last_events = events or last_events
                size += len(events)
                for event in events.split("\n\n"):
                    if event.startswith("data: {"):
                        text.append(json.loads(event[6:])["choices"][0]["text"])
            ended = endpoint.ask(f"/status/{job_id}")
    assert size > 20_000_000
    assert "".join(text) == prompt
    assert last_events.endswith("data: [DONE]\n\n")
    assert (ended["status"], ended["output"]) == ("COMPLETED", [])
