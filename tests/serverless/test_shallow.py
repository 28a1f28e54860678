"""A job nested deeper than Python reads JSON is refused by itself; its neighbours run."""

from __future__ import annotations

import json

import pytest

from worker_vllm.serverless.shallow import REFUSAL
from worker_vllm.serverless.wire import ProtocolError, parse_jobs

DEEP = "[" * 5000 + "]" * 5000
GOOD = {"id": "good", "input": {"prompt": 'a "quoted" [ { , ] text \\'}}
ODD = {"input": {"id": "not this", "list": [{"id": "nor this"}]}, "id": 'true "id"'}


def deep(job_id: str) -> str:
    return f'{{"input": {{"id": "inner", "q": {DEEP}, "text": "]}},{{[" }}, "id": {json.dumps(job_id)}}}'


CASES = [
    pytest.param(deep("one"), [{"id": "one", "refused": REFUSAL}], id="alone"),
    pytest.param(f" [ {deep('one')} ] ", [{"id": "one", "refused": REFUSAL}], id="a batch of one"),
    pytest.param(
        f"[{json.dumps(GOOD)}, {deep('two')} ,{json.dumps(ODD)}]",
        [GOOD, {"id": "two", "refused": REFUSAL}, ODD],
        id="between others",
    ),
]


@pytest.mark.parametrize(("body", "jobs"), CASES)
def test_each_job_is_found(body: str, jobs: list[object]) -> None:
    """Whole where it can be read, else its own id and the reason."""
    assert parse_jobs(body.encode()) == jobs


@pytest.mark.parametrize("body", [DEEP, f'[{{"input": {DEEP}}}]', f"[{DEEP}", f'{{"id": {DEEP}}}'])
def test_what_has_no_id_is_no_job(body: str) -> None:
    """The take is told as unreadable, and the worker lives on."""
    with pytest.raises(ProtocolError):
        parse_jobs(body.encode())
