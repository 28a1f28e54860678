"""A job that Python's JSON cannot read is refused by itself; its neighbours run."""

from __future__ import annotations

import json

import pytest

from worker_vllm.serverless.intake.take_answer import DEEP, DIGITS, ENCODING
from worker_vllm.serverless.protocol import TakenJobs, parse_take

NESTED = "[" * 5000 + "]" * 5000
GOOD = {"id": "good", "input": {"prompt": 'a "quoted" [ { , ] text \\'}}
ODD = {"input": {"id": "not this", "list": [{"id": "nor this"}]}, "id": 'true "id"'}
SECOND = {"id": "é", "input": "日本"}


def bad(job_id: str, value: str) -> str:
    """A job whose input contains a value that cannot be parsed."""
    return f'{{"input": {{"id": "inner", "q": {value}, "text": "]}},{{[" }}, "id": {json.dumps(job_id)}}}'


READS = [
    pytest.param(NESTED, DEEP, id="deep"),
    pytest.param("1" * 4301, DIGITS, id="a long number"),
    pytest.param("-" + "1" * 4301, DIGITS, id="a long negative number"),
    pytest.param('"\udcff"', ENCODING, id="no UTF-8"),
    pytest.param("nonsense", "the job is not JSON: Expecting value at its character 31", id="no JSON"),
    pytest.param(
        '"a\nb"', "the job is not JSON: Invalid control character at at its character 33", id="a bare line break"
    ),
]


@pytest.mark.parametrize(("value", "reason"), READS)
def test_a_job_that_cannot_be_read_is_refused_by_itself(value: str, reason: str) -> None:
    """Parsed where it can be, else its own id and the reason: alone, first, in the middle, last, repeatedly."""
    refused = {"id": "bad", "refused": reason}
    given, good, second = bad("bad", value), json.dumps(GOOD), json.dumps(SECOND, ensure_ascii=False)
    odd = json.dumps(ODD)
    for text, jobs in [
        (given, [refused]),
        (f" [ {given} ] ", [refused]),
        (f"[{given},{good}, {second}]", [refused, GOOD, SECOND]),
        (f"[{good}, {given} ,{odd}]", [GOOD, refused, ODD]),
        (f"[{second}\n,{odd},{given}]", [SECOND, ODD, refused]),
        (f"\ufeff[{given},{given},{good}]", [refused, refused, GOOD]),
    ]:
        assert parse_take(text.encode("utf-8", "surrogateescape")) == TakenJobs(jobs, [])


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (NESTED, DEEP),
        ("1" * 4301, DIGITS),
        (f'{{"input": {NESTED}}}', DEEP),
        (f'{{"id": {"7" * 4301}}}', DIGITS),
        (f'{{"id": {NESTED}}}', DEEP),
        ("secret", "the job is not JSON: Expecting value at its character 0"),
        (bad("\ud800", NESTED), "expected a text `id`, got one that cannot be part of a URL: '\\ud800'"),
    ],
)
def test_what_has_no_usable_id_is_named_and_skipped(entry: str, fault: str) -> None:
    """It cannot be answered; the other jobs run."""
    body = f"[{json.dumps(GOOD)},{entry},{json.dumps(ODD)}]"
    assert parse_take(body.encode()) == TakenJobs([GOOD, ODD], [f"entry 2 of 3: {fault}"])


@pytest.mark.parametrize("rest", ['{"input": "secret', f"[{NESTED[:6000]}", '"secret', "[[1", "{} {}]"])
def test_what_came_before_a_broken_end_runs(rest: str) -> None:
    """A list that does not end: the complete jobs in it are jobs, the rest is one log line without its content."""
    found = parse_take(f"[{json.dumps(GOOD)}, {rest}".encode())
    assert found.jobs == [GOOD]
    assert found.faults
    assert "secret" not in str(found.faults)


@pytest.mark.parametrize("unit", ["[", "[1,", '{"a":', '"\\\\",', "{}{", ",,", '"'])
def test_hostile_text_is_cut_in_linear_time(unit: str) -> None:
    """A megabyte of anything is cut within this test's limit of ten seconds; a quadratic cut would need hours."""
    found = parse_take(f"[{json.dumps(GOOD)},{unit * (1_000_000 // len(unit))}".encode())
    assert found.jobs == [GOOD]
