"""The words on the wire, as runpod-python 1.12 writes and reads them."""

from __future__ import annotations

import json

import pytest

from worker_vllm.serverless.protocol import (
    Addresses,
    ProtocolError,
    TakenJobs,
    done_body,
    failed_body,
    parse_stop,
    parse_take,
    stream_body,
    text_value,
)
from worker_vllm.settings.types import QueueSettings

H = "http://h/v2/ep"
GIVEN = Addresses.of(
    QueueSettings(
        take_url=f"{H}/job-take/w?gpu=A",
        done_url=f"{H}/job-done/w/$ID?gpu=A",
        stream_url=f"{H}/job-stream/w/$ID?gpu=A",
        ping_url=f"{H}/ping/w?gpu=A",
    )
)


@pytest.mark.parametrize(
    ("made", "address"),
    [
        (GIVEN.take(1, busy=False), f"{H}/job-take/w?gpu=A&job_in_progress=0"),
        (GIVEN.take(7, busy=True), f"{H}/job-take-batch/w?gpu=A&batch_size=7&job_in_progress=1"),
        (GIVEN.stop(), f"{H}/job-stop/w?gpu=A"),
        (GIVEN.stream("j-1"), f"{H}/job-stream/w/j-1?gpu=A&isStream=false"),
        (GIVEN.done("a/b?c"), f"{H}/job-done/w/a%2Fb%3Fc?gpu=A&isStream=true"),
        (GIVEN.ping([], "1"), f"{H}/ping/w?gpu=A&runpod_version=1"),
        (GIVEN.ping(["a", "b"], "1"), f"{H}/ping/w?gpu=A&job_id=a,b&runpod_version=1"),
    ],
)
def test_addresses(made: str, address: str) -> None:
    """Each message goes where the official worker sends it."""
    assert made == address


def test_an_address_without_a_query_gets_one() -> None:
    """Otherwise the parameters would become part of the path."""
    bare = Addresses.of(QueueSettings(take_url=f"{H}/job-take/w"))
    assert bare.take(1, busy=False) == f"{H}/job-take/w?&job_in_progress=0"


def test_one_job_or_a_list_of_jobs() -> None:
    """Both forms of a take's answer."""
    assert parse_take(b'{"id": "a", "input": 1}') == TakenJobs([{"id": "a", "input": 1}], [])
    assert parse_take(b'[{"id": "a"}, {"id": "b"}]') == TakenJobs([{"id": "a"}, {"id": "b"}], [])
    assert parse_take(b"[]") == TakenJobs([], [])


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ("1", "expected an object, got int"),
        ("null", "expected an object, got NoneType"),
        ("[]", "expected an object, got list"),
        ('{"input": "secret"}', "expected a text `id`, got none"),
        ('{"id": 5, "input": "secret"}', "expected a text `id`, got int"),
        ('{"id": null, "input": "secret"}', "expected a text `id`, got NoneType"),
        ('{"id": "", "input": "secret"}', "expected a text `id`, got an empty one"),
        ('{"id": "\\ud800x"}', "expected a text `id`, got one that cannot be part of a URL: '\\ud800x'"),
    ],
)
def test_an_entry_that_is_no_job_does_not_affect_the_others(entry: str, fault: str) -> None:
    """An entry without a usable id cannot be answered; the log names its fault, never its content."""
    good = [{"id": "a", "input": 1}, {"id": "b", "input": 2}]
    body = f"[{json.dumps(good[0])}, {entry}, {json.dumps(good[1])}]"
    assert parse_take(body.encode()) == TakenJobs(good, [f"entry 2 of 3: {fault}"])
    if not entry.startswith("["):
        assert parse_take(entry.encode()) == TakenJobs([], [f"entry 1 of 1: {fault}"])


def test_stops() -> None:
    """The ids of cancelled jobs; anything else is refused."""
    assert parse_stop(b'{"jobsToStop": ["a", "b"]}') == ["a", "b"]
    for body in (b"[]", b"{}", b'{"jobsToStop": "a"}', b"x", b"[" * 5000, b'{"jobsToStop": [' + b"1" * 4301 + b"]}"):
        with pytest.raises(ProtocolError):
            parse_stop(body)


def test_bodies_splice_json_text() -> None:
    """Values are never decoded; text is escaped as JSON wants it, and left as UTF-8."""
    nasty = 'data: {"é": "\\n \u2028 \x00 \U0001f600"}\n\n'
    value = text_value(nasty.encode())
    assert json.loads(b"".join(stream_body(value))) == {"output": nasty}
    assert "é".encode() in value
    assert json.loads(b"".join(done_body([value, b"[1, 2]"]))) == {"output": [nasty, [1, 2]]}
    assert json.loads(b"".join(done_body([], stop_pod=True))) == {"output": [], "stopPod": True}
    assert json.loads(b"".join(failed_body('{"message": "é"}'))) == {"error": '{"message": "é"}'}
