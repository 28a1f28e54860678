"""Takes whose answers contain one entry that is no job, or that cannot be parsed: the other jobs are served."""

from __future__ import annotations

import json
import signal

import pytest

from tests.support.attached import worker_environment, worker_process
from tests.support.platforms.scripted_platform import scripted_platform

ECHO = {
    "ENGINE": "echo",
    "MODEL_NAME": "echo",
    "ECHO_TPOT_MS": "300",
}  # two seconds a job, longer than a ping interval
SECRET = "a word of a user's prompt"
DEEP = "[" * 100_000 + "]" * 100_000

UNANSWERABLE = {
    "no id": f'{{"input": {{"prompt": "{SECRET}"}}}}',
    "a number as id": f'{{"id": 5, "input": {{"prompt": "{SECRET}"}}}}',
    "no text as id": f'{{"id": null, "input": {{"prompt": "{SECRET}"}}}}',
    "an empty id": f'{{"id": "", "input": {{"prompt": "{SECRET}"}}}}',
    "a list as id": f'{{"id": ["x"], "input": {{"prompt": "{SECRET}"}}}}',
    "a surrogate id": f'{{"id": "\\ud800", "input": {{"prompt": "{SECRET}"}}}}',
    "a text": f'"{SECRET}"',
    "null": "null",
    "a long number alone": "1" * 4301,
}
REFUSED = {
    "a long number": f'{{"prompt": "{SECRET}", "n": {"1" * 4301}}}',
    "deep": f'{{"prompt": "{SECRET}", "n": {DEEP}}}',
    "no object": f'"{SECRET}"',
    "no UTF-8": f'{{"prompt": "{SECRET} \udcff"}}',
    "a bare line break": f'{{"prompt": "{SECRET}\n"}}',
}
POLICIES = [
    '{"executionTimeout": 1%s}' % ("0" * 400),
    '{"ttl": 1e999, "executionTimeout": -1e999}',
    '{"ttl": NaN}',
    "[]",
]

pytestmark = pytest.mark.timeout(60)


def good(job_id: str, policy: str = "null") -> str:
    """A job that is answered with its own id."""
    sampling = '{"max_tokens": 100}'
    return (
        f'{{"id": "{job_id}", "input": {{"prompt": "{job_id}", "sampling_params": {sampling}}}, "policy": {policy}}}'
    )


def test_one_bad_job_in_a_batch_does_not_affect_the_others() -> None:
    """Each answer contains good jobs around a bad one: all good ones are answered, by one worker, which goes on."""
    refused = {
        f"r{n}": (name, f'{{"id": "r{n}", "input": {text}}}') for n, (name, text) in enumerate(REFUSED.items())
    }
    bad = [*UNANSWERABLE.values(), *(text for _, text in refused.values())]
    batches = [[good(f"g{n}a"), text, good(f"g{n}b")] for n, text in enumerate(bad)]
    batches.append([good(f"p{n}", policy) for n, policy in enumerate(POLICIES)])
    answered = [f"g{n}{half}" for n in range(len(bad)) for half in "ab"] + [f"p{n}" for n in range(len(POLICIES))]
    with scripted_platform() as platform:
        platform.hand_out(*(f"[{','.join(jobs)}]".encode("utf-8", "surrogateescape") for jobs in batches))
        with worker_process({**worker_environment(platform.url, "w1"), **ECHO, "MAX_NUM_SEQS": "64"}) as worker:
            assert platform.until(lambda: set(answered) | set(refused) <= platform.done(), 40), worker.output()
            worker.signal(signal.SIGTERM)
            code = worker.exit_code()
        assert code == 0
        for job_id in answered:
            [body] = platform.of(job_id, "done")
            assert json.loads(body)["output"][0]["choices"] == [{"tokens": [job_id]}]
        for job_id, (name, _) in refused.items():
            [body] = platform.of(job_id, "done")
            error = json.loads(json.loads(body)["error"])
            assert (error["code"], "input" in error["message"] or "JSON" in error["message"]) == (400, True), name
        assert platform.done() == set(answered) | set(refused)
        assert len(platform.pings) >= 2
        assert worker.output().count("entries without a usable id") == len(UNANSWERABLE)
        assert SECRET not in worker.output()
        assert "Traceback" not in worker.output()
