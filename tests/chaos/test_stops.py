"""Worker processes that stop while the platform is slow: every job gets its result, or a log line that names it."""

from __future__ import annotations

import json
import math
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.attached import worker_environment, worker_process
from tests.support.platforms.scripted_platform import Handed, Posted, ScriptedPlatform, scripted_platform

ECHO = {"ENGINE": "echo", "MODEL_NAME": "echo", "ECHO_TPOT_MS": "50"}
LONG = '[[echo {"hang_after": 0}]]'
ENDLESS = '[[echo {"hang_after": 3}]]abcdef'
DIES = '[[echo {"fail_after": 40}]]' + "x" * 100  # two seconds after its first token

pytestmark = pytest.mark.timeout(60)


def answer(job_id: str) -> dict[str, Any]:
    """A job that has no answer before the drain's end."""
    return {"id": job_id, "input": {"prompt": LONG}}


def stream(job_id: str, prompt: str) -> dict[str, Any]:
    """An OpenAI stream of this prompt's echo."""
    body = {"prompt": prompt, "stream": True, "max_tokens": 100}
    return {"id": job_id, "input": {"openai_route": "/v1/completions", "openai_input": body}}


def batch(jobs: list[dict[str, Any]]) -> bytes:
    return json.dumps(jobs).encode()


def is_error(posted: Posted) -> bool:
    return posted.kind == "stream" and b'data: {\\"error\\"' in posted.body


def results(platform: ScriptedPlatform, jobs: list[dict[str, Any]]) -> Counter[int]:
    """The codes of the errors that the jobs failed with; each has exactly one result."""
    codes: Counter[int] = Counter()
    for job in jobs:
        [body] = platform.of(job["id"], "done")
        codes[json.loads(json.loads(body)["error"])["code"]] += 1
    return codes


def test_final_events_at_the_drains_end_cost_no_job_its_result() -> None:
    """Twelve long jobs, and a stream that fails 2 s after SIGTERM while its final event is answered after 4 s."""
    jobs = [*(answer(f"long-{n}") for n in range(12)), stream("dies", DIES)]
    with scripted_platform() as platform:
        platform.behaviour.delay_s = lambda posted: 4.0 if is_error(posted) else 0.0
        platform.hand_out(batch(jobs))
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "DRAIN_TIMEOUT": "3"}) as worker:
            assert platform.until(lambda: bool(platform.of("dies", "stream")))
            worker.signal(signal.SIGTERM)
            code = worker.exit_code(20)
        assert (code, results(platform, jobs)) == (0, Counter({503: 12, 500: 1}))
        assert "Traceback" not in worker.output()


def test_a_platform_that_takes_two_seconds_for_each_piece_gets_every_result() -> None:
    """Half of the streams fail in the drain, half are cut off at its end: 24 of 24 get the error twice."""
    jobs = [stream(f"s-{n}", DIES if n % 2 else ENDLESS) for n in range(24)]
    with scripted_platform() as platform:
        platform.behaviour.delay_s = lambda posted: 2.0 if posted.kind == "stream" else 0.0
        platform.hand_out(batch(jobs))
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "DRAIN_TIMEOUT": "3"}) as worker:
            assert platform.until(lambda: all(platform.of(job["id"], "stream") for job in jobs))
            worker.signal(signal.SIGTERM)
            code = worker.exit_code(20)
        assert (code, results(platform, jobs)) == (0, Counter({503: 12, 500: 12}))
        assert all(b'data: {\\"error\\"' in platform.of(job["id"], "stream")[-1] for job in jobs)


def test_a_second_signal_fails_every_job_with_an_error() -> None:
    """72 jobs run: each fails with the reason at once, and the worker still ends with 130."""
    jobs = [*(answer(f"a-{n}") for n in range(36)), *(stream(f"s-{n}", ENDLESS) for n in range(36))]
    with scripted_platform() as platform:
        platform.hand_out(batch(jobs))
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "DRAIN_TIMEOUT": "60"}) as worker:
            assert platform.until(lambda: all(platform.of(f"s-{n}", "stream") for n in range(36)))
            worker.signal(signal.SIGTERM)
            time.sleep(0.3)  # two signals at once are one
            worker.signal(signal.SIGTERM)
            code = worker.exit_code(10)
        assert (code, results(platform, jobs)) == (130, Counter({503: 72}))


def test_a_second_signal_spools_every_undelivered_result(tmp_path: Path) -> None:
    """The platform hangs: the log counts and names all of them, the spool has a result for each."""
    spool = {"DRAIN_TIMEOUT": "60", "SPOOL_DIRECTORY": str(tmp_path / "spool")}
    jobs = [answer(f"a-{n}") for n in range(36)]
    with scripted_platform() as platform:
        platform.behaviour.delay_s = lambda posted: math.inf
        platform.hand_out(batch([*jobs, stream("first", ENDLESS)]))
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, **spool}) as worker:
            assert platform.until(lambda: bool(platform.posts))
            worker.signal(signal.SIGTERM)
            time.sleep(0.3)  # two signals at once are one
            worker.signal(signal.SIGTERM)
            code = worker.exit_code(10)
        assert (code, len(list(tmp_path.glob("spool/**/*.result")))) == (130, 37)
        assert "stopping with 37 results undelivered" in worker.output()
        for job in [*jobs, {"id": "first"}]:
            assert f"result kept for the next start: job={job['id']} " in worker.output()


QUICK = {"max_tokens": 3}
LATE = [
    pytest.param(1.9, Handed(b"", before_s=0.5), id="decided before the cut-off, on its way at it"),
    pytest.param(1.6, Handed(b"", before_s=0.2, between_s=2.5), id="half of it arrived"),
]


@pytest.mark.parametrize(("at_s", "handed"), LATE)
def test_a_batch_on_its_way_when_the_worker_leaves_is_served(at_s: float, handed: Handed) -> None:
    """The platform has handed the jobs out: no other worker will run them."""
    ids = [f"j-{n}" for n in range(8)]
    jobs = [{"id": job_id, "input": {"prompt": job_id, "sampling_params": QUICK}} for job_id in ids]
    with scripted_platform() as platform:
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "DRAIN_TIMEOUT": "10"}) as worker:
            assert platform.until(lambda: platform.polls == 1)
            worker.signal(signal.SIGTERM)
            time.sleep(at_s)  # aimed at the moment when the worker stops to wait
            platform.hand_out(replace(handed, body=batch(jobs)))
            code = worker.exit_code(20)
        assert (code, platform.waiting) == (0, 0)
        assert [len(platform.of(job_id, "done")) for job_id in ids] == [1] * 8
        assert all(b"output" in platform.of(job_id, "done")[0] for job_id in ids)


def test_a_platform_sees_that_a_worker_has_left() -> None:
    """What it hands out afterwards stays with it, for another worker."""
    with scripted_platform() as platform:
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "DRAIN_TIMEOUT": "10"}) as worker:
            assert platform.until(lambda: platform.polls == 1)
            worker.signal(signal.SIGTERM)
            assert platform.until(lambda: platform.polls == 0, 10)
            platform.hand_out(batch([answer("late")]))
            code = worker.exit_code(20)
        assert (code, platform.waiting) == (0, 1)
