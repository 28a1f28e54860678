"""Rules of the log lines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from worker_vllm.observability.logging import JsonFormatter, TextFormatter, configure, current_job
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Secret

SECRETS = [Secret("hf_canary"), Secret("hf_canary_longer"), Secret("abc"), Secret("")]


@pytest.fixture
def untouched_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("worker_vllm", logging.INFO, "f.py", 1, message, None, None)
    made.created, made.msecs = 1_700_000_000.25, 250.0
    made.__dict__.update(extra)
    return made


def test_a_json_line_has_time_level_message_source_and_the_jobs_id() -> None:
    """The keys are the ones RunPod's console reads; `requestId` only while a job runs."""
    token = current_job.set("job-1")
    try:
        line = json.loads(JsonFormatter(Redactor([])).format(record("done")))
    finally:
        current_job.reset(token)
    expected = {"time": "2023-11-14T22:13:20.250Z", "level": "INFO", "message": "done", "source": "worker"}
    assert line == {**expected, "requestId": "job-1"}
    assert json.loads(JsonFormatter(Redactor([])).format(record("done"))) == expected


def test_the_engines_lines_are_marked() -> None:
    """Each line shows which process wrote it."""
    assert TextFormatter(Redactor([])).format(record("loading", source="engine")) == "engine | loading"
    assert json.loads(JsonFormatter(Redactor([])).format(record("loading", source="engine")))["source"] == "engine"


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_secrets_never_reach_a_line(formatter: type[JsonFormatter | TextFormatter]) -> None:
    """By value, longest first, in messages and tracebacks; texts too short to be secrets stay."""
    try:
        raise ValueError("token hf_canary_longer abc")
    except ValueError:
        made = record("got hf_canary and hf_canary_longer abc", exc_info=sys.exc_info())
    line = formatter(Redactor(SECRETS)).format(made)
    assert "canary" not in line
    assert "got *** and *** abc" in line
    assert "token *** abc" in line


@pytest.mark.parametrize(
    ("log_format", "environment", "is_json"),
    [
        ("json", {}, True),
        ("text", {"RUNPOD_POD_ID": "p"}, False),
        ("auto", {}, False),
        ("auto", {"RUNPOD_POD_ID": "p"}, True),
    ],
)
@pytest.mark.usefixtures("untouched_root")
def test_auto_means_json_on_the_platform(log_format: str, environment: dict[str, str], is_json: bool) -> None:
    """And text everywhere else."""
    stream = io.StringIO()
    configure(log_format, "info", environment, [], stream)
    logging.getLogger("worker_vllm.test").info("hello %s", "world")
    assert stream.getvalue().startswith("{") is is_json
    assert "hello world" in stream.getvalue()
