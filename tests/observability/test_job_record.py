"""What a record knows of its job: tokens by their best source, outcomes, times; and the line that it becomes."""

from __future__ import annotations

import json
import logging

import pytest

from worker_vllm.errors import EngineUnavailable, NotFound, Overloaded, RequestError, WorkerError
from worker_vllm.observability.job_ledger import JobLedger
from worker_vllm.observability.job_log import FIELDS, job_fields, write_job_line
from worker_vllm.observability.job_record import JobRecord, RequestUsage, Tokens
from worker_vllm.observability.logging import JsonFormatter
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Secret


def usage(tag: str, completion: int = 5, unfinished: int = 0) -> RequestUsage:
    return RequestUsage(tag, 3, 1, completion, unfinished, wait_s=0.5, first_token_s=0.25, decode_s=0.4)


def tag_of(headers: dict[str, str]) -> str:
    return headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RequestError("no"), "refused"),
        (NotFound("no"), "refused"),
        (Overloaded("full", status=429), "failed"),
        (EngineUnavailable("dead", status=424), "failed"),
        (WorkerError("bug"), "failed"),
    ],
)
def test_a_request_is_refused_for_its_own_fault_alone(error: WorkerError, outcome: str) -> None:
    """Every other error is a failure; the first error counts."""
    record = JobRecord("a")
    record.fail(error)
    record.fail(WorkerError("later"))
    assert (record.outcome, record.error, record.status) == (outcome, type(error).__name__, error.status)


def test_a_served_name_is_the_model_and_another_one_an_adapter() -> None:
    """Unless the engine knows it not at all."""
    record = JobRecord("a")
    record.note_model("tuned", ("base", "org/base"))
    assert (record.model, record.adapter) == ("base", "tuned")
    record.fail(NotFound("no such model"))
    assert (record.model, record.adapter) == ("tuned", None)
    record.note_model("org/base", ("base", "org/base"))
    assert (record.model, record.adapter) == ("org/base", None)


@pytest.mark.parametrize(
    ("response", "events", "expected"),
    [
        (b'"usage":{"prompt_tokens":3,"total_tokens":8,"completion_tokens":5}', 0, Tokens(3, 0, 5, "response")),
        (b'"usage":{"input_tokens":3,"output_tokens":5,"cached_tokens":2}', 0, Tokens(3, 2, 5, "response")),
        (b'{"text":"the \\"prompt_tokens\\":9 of it"}', 4, Tokens(0, 0, 4, "events")),
        (b"", 0, Tokens()),
    ],
)
def test_without_a_report_of_the_engine_the_response_is_read(response: bytes, events: int, expected: Tokens) -> None:
    """Its usage, or the number of its events; text inside an answer is no usage."""
    record = JobRecord("a", last_usage=response, events=events)
    record.settle_tokens()
    assert record.tokens == expected


async def test_a_job_ends_when_the_engine_has_reported_all_its_sequences() -> None:
    """Reports come before or after the end; one that names no request of these jobs is ignored."""
    ended: list[JobRecord] = []
    ledger = JobLedger([ended.append], engine_reports=True)
    record = ledger.open("a", 2.0)
    first, second = (tag_of(record.request_headers(generates=True)) for _ in range(2))
    ledger.add_usage(usage("0123456789ab"))
    ledger.add_usage(usage(first, unfinished=1))
    ledger.close(record)
    ledger.add_usage(usage(first))
    assert ended == []
    ledger.add_usage(usage(second))
    assert ended == [record]
    assert record.tokens == Tokens(9, 3, 15, "engine")
    assert (record.outcome, record.queue_delay_s, record.engine_wait_s) == ("completed", 2.0, 0.5)
    assert record.inter_token_s == pytest.approx(0.1)


async def test_the_end_of_the_worker_waits_for_no_report() -> None:
    """What is known is recorded. A refused request is not waited for at all."""
    ended: list[JobRecord] = []
    ledger = JobLedger([ended.append], engine_reports=True)
    refused, cut = ledger.open("a"), ledger.open("b")
    refused.withdraw(refused.request_headers(generates=True))
    ledger.close(refused)
    assert ended == [refused]
    cut.request_headers(generates=True)
    ledger.close(cut)
    ledger.flush()
    assert ended == [refused, cut]


async def test_a_sink_that_fails_takes_nothing_from_the_others() -> None:
    """The job is over whatever becomes of its record."""
    ended: list[JobRecord] = []

    def broken(record: JobRecord) -> None:
        raise ValueError(record.job_id)

    JobLedger([broken, ended.append]).close(record := JobRecord("a"))
    assert ended == [record]


def test_a_request_to_the_engine_has_a_tag_that_the_line_names() -> None:
    """A request that generates nothing gets none."""
    record = JobRecord("job-1")
    tags = [tag_of(record.request_headers(generates=True)) for _ in range(5)]
    assert len(set(tags)) == 5
    assert job_fields(record)["engine_ids"] == " ".join(tags[:4])
    assert record.request_headers(generates=False) == {}


def test_the_line_of_a_job_is_an_object_beside_the_message(caplog: pytest.LogCaptureFixture) -> None:
    """With the job's id, redacted by value, and every field of it documented."""
    record = JobRecord("job-1", route="/v1/completions", model="hf_secret_name", kind="openai")
    record.tokens = Tokens(3, 1, 5, "engine")
    record.end("cancelled", "platform")
    record.ended_at = record.taken_at + 2.0
    record.first_token_at = record.taken_at + 1.0
    lines = []

    class Kept(logging.Handler):
        def emit(self, made: logging.LogRecord) -> None:
            lines.append(JsonFormatter(Redactor([Secret("hf_secret_name")])).format(made))

    logger = logging.getLogger("worker_vllm.jobs.line")
    handler = Kept()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "worker_vllm.jobs.line"):
            write_job_line(record)
    finally:
        logger.removeHandler(handler)
    (line,) = (json.loads(line) for line in lines)
    assert (line["requestId"], line["level"], "hf_secret" in str(line)) == ("job-1", "INFO", False)
    assert line["message"].startswith("job cancelled: cancelled_by=platform")
    assert line["job"] == {
        "outcome": "cancelled",
        "cancelled_by": "platform",
        "kind": "openai",
        "route": "/v1/completions",
        "model": "***",
        "stream": False,
        "prompt_tokens": 3,
        "cached_tokens": 1,
        "completion_tokens": 5,
        "tokens_from": "engine",
        "first_token_s": 1.0,
        "tokens_per_s": 4.0,
        "duration_s": 2.0,
        "pieces": 0,
        "bytes": 0,
        "retries": 0,
    }
    assert set(job_fields(record)) <= set(FIELDS)


def test_the_usage_of_a_stream_is_read_though_its_end_has_an_event_of_its_own() -> None:
    """The last two parts are kept, whatever their size; earlier ones are counted."""
    record = JobRecord("a")
    for run in (
        b'data: {"a":1}\n\ndata: {"a":2}\n\n',
        b'data: {"usage":{"completion_tokens":7}}\n\n',
        b"",
        b"data: [DONE]\n\n",
    ):
        record.read_events(run)
    record.settle_tokens()
    assert (record.events, record.tokens) == (4, Tokens(0, 0, 7, "response"))
