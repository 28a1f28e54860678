"""The engine ends under jobs, by death or by hanging: what their clients learn, and what those do then."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable

import openai
import pytest

from tests.chaos.client_sync import Endpoint
from tests.chaos.fleet import command_of, descendants
from tests.support.attached import gateway_process, worker_environment, worker_process

JOBS = 50
ENGINE = {"ENGINE": "echo", "MODEL_NAME": "echo", "ECHO_TPOT_MS": "20"}
WATCHED = {"ENGINE_STALL_TIMEOUT": "2"}
STREAM = {"model": "echo", "prompt": "x" * 90, "max_tokens": 10_000, "ignore_eos": True, "stream": True}

pytestmark = pytest.mark.timeout(120)


def guard(worker: int) -> int:
    """The process that guards the engine."""
    return next(pid for pid in descendants(worker) if b"guard.py" in command_of(pid))


def engine(worker: int) -> int:
    """The engine itself."""
    return next(pid for pid in descendants(worker) if b"guard.py" not in command_of(pid))


@pytest.mark.parametrize("victim", [engine, guard])
def test_streams_that_wait_for_a_distant_platform_get_the_cause(victim: Callable[[int], int]) -> None:
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


def test_a_job_that_was_in_flight_at_a_stall_is_not_sent_again() -> None:
    """OpenAI's client repeats a 503 twice, each time against a fresh engine; this it raises at once."""
    with gateway_process() as url, worker_process({**worker_environment(url, "w1"), **ENGINE, **WATCHED}) as worker:
        with openai.OpenAI(api_key="key", base_url=f"{url}/openai/v1", max_retries=2) as client:
            with pytest.raises(openai.APIStatusError) as raised:
                client.completions.create(model="echo", prompt="hello", extra_body={"echo": {"hang_after": 2}})
            assert raised.value.status_code == 424
            assert "do not send it again as it is" in str(raised.value)
            assert client.completions.create(model="echo", prompt="hello").choices[0].text == "hello"
        assert worker.output().count("it made no progress for") == 1
        assert Endpoint(url).ask("/health")["jobs"]["failed"] == 1


def test_a_freeze_of_everything_under_a_job_is_no_stall() -> None:
    """Worker and engine stopped as one for twice the timeout, in the middle of a job: it goes on where it was."""
    with gateway_process() as url, worker_process({**worker_environment(url, "w1"), **ENGINE, **WATCHED}) as worker:
        endpoint = Endpoint(url)
        endpoint.end(endpoint.run(prompt="hello"))
        job_id = endpoint.run(prompt="x" * 50, sampling_params={"max_tokens": 100, "ignore_eos": True})
        while endpoint.ask(f"/status/{job_id}")["status"] == "IN_QUEUE":
            pass
        everything = [worker.pid, *descendants(worker.pid)]
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)  # being frozen takes time
        for pid in everything:
            os.kill(pid, signal.SIGCONT)
        assert endpoint.end(job_id)["status"] == "COMPLETED"
        assert [worker.pid, *descendants(worker.pid)] == everything
        assert "no progress" not in worker.output()
