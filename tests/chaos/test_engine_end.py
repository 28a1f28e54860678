"""The engine dies under streams whose pieces a distant platform is slow to take: every job learns the cause."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import pytest
from chaos.client_sync import Endpoint
from chaos.fleet import command_of, descendants
from support.attached import gateway_process, worker_environment, worker_process

JOBS = 50
ENGINE = {"ENGINE": "echo", "MODEL_NAME": "echo", "ECHO_TPOT_MS": "20"}
STREAM = {"model": "echo", "prompt": "x" * 90, "max_tokens": 10_000, "ignore_eos": True, "stream": True}

pytestmark = pytest.mark.timeout(120)


def guard(worker: int) -> int:
    """The process that guards the engine."""
    return next(pid for pid in descendants(worker) if b"guard.py" in command_of(pid))


def engine(worker: int) -> int:
    """The engine itself."""
    return next(pid for pid in descendants(worker) if b"guard.py" not in command_of(pid))


@pytest.mark.parametrize("victim", [engine, guard])
def test_streams_that_wait_for_a_distant_platform_are_told_the_cause(victim: Callable[[int], int]) -> None:
    """Each piece takes 1.5 s to be taken, so most streams wait for the platform when the engine is killed."""
    with gateway_process("--faults") as url:
        endpoint = Endpoint(url)
        with worker_process({**worker_environment(url, "w1"), **ENGINE}) as worker:
            endpoint.end(endpoint.run(prompt="hello"))
            endpoint.faults({"route": "job-stream", "latency_s": 1.5})
            job_ids = [endpoint.run(openai_route="/v1/completions", openai_input=STREAM) for _ in range(JOBS)]
            while endpoint.ask("/health")["jobs"]["inProgress"] < JOBS:
                time.sleep(0.05)  # the gateway's health has no event
            time.sleep(1)  # into the platform's delay
            os.kill(victim(worker.pid), signal.SIGKILL)
            killed_at = time.monotonic()
            found = [endpoint.end(job_id) for job_id in job_ids]
            took_s = time.monotonic() - killed_at
        assert {job["status"] for job in found} == {"FAILED"}
        errors = [json.loads(job["error"]) for job in found]
        assert {(e["code"], e["message"].startswith("the engine stopped working: ")) for e in errors} == {(503, True)}
        assert took_s < 15
