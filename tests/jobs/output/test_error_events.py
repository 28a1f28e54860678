"""Errors in the form of the job's route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker_vllm.errors import EngineReportedError, RequestError, Timeout, WorkerError, status_of_type
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.engine_answers import error_from_response
from worker_vllm.jobs.output.error_events import error_body, error_events, error_text, in_band_error

CHAT, MESSAGES, COUNT = "/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"
LATE = Timeout("late")
OPENAI = {"message": "late", "type": "TimeoutError", "param": None, "code": 504}
ANTHROPIC = {"type": "error", "error": {"type": "timeout_error", "message": "late"}}
ENGINE_ERROR = {"type": "error", "error": {"type": "NotFoundError", "message": "no", "extra": 1}, "request_id": "r"}


def job(route: object, key: str = "openai_route") -> dict[str, Any]:
    return {"id": "job", "input": {key: route}}


@pytest.mark.parametrize("key", ["openai_route", "route"])
@pytest.mark.parametrize("route", [MESSAGES, COUNT])
def test_anthropics_routes_have_anthropics_form(route: str, key: str) -> None:
    """The job's error, the body and the event of a stream alike."""
    given = job(route, key)
    assert json.loads(error_text(LATE, given)) == ANTHROPIC
    assert json.loads(error_body(LATE, given)) == ANTHROPIC
    assert error_events(LATE, given) == b"event: error\n" + sse.event(ANTHROPIC)
    assert json.loads(in_band_error(LATE, given, raw=False).data) == [ANTHROPIC]


@pytest.mark.parametrize(
    "given", [job(CHAT), job("/v1/responses"), job(None), job(["x"]), {"id": "job", "input": None}, {"id": "job"}]
)
def test_everything_else_has_openais_form(given: dict[str, Any]) -> None:
    assert json.loads(error_text(LATE, given)) == OPENAI
    assert json.loads(error_body(LATE, given)) == {"error": OPENAI}
    assert json.loads(in_band_error(LATE, given, raw=False).data) == [{"error": OPENAI}]
    text, done = sse.events(error_events(LATE, given))
    assert sse.parsed(text) == {"error": OPENAI}
    assert done == sse.DONE


def test_an_engine_error_in_anthropics_form_is_passed_on_unchanged() -> None:
    """On other routes it is converted to OpenAI's form."""
    error = error_from_response(404, json.dumps(ENGINE_ERROR).encode())
    assert json.loads(error_text(error, job(MESSAGES))) == ENGINE_ERROR
    assert json.loads(error_text(error, job(CHAT))) == {
        "param": None,
        "type": "NotFoundError",
        "message": "no",
        "extra": 1,
        "code": 404,
    }


def test_an_engine_error_in_openais_form_is_converted_to_anthropics_with_its_type_and_message() -> None:
    error = EngineReportedError(400, {"message": "no", "type": "BadRequestError", "param": "n", "code": 400})
    expected = {"type": "error", "error": {"type": "BadRequestError", "message": "no"}}
    assert json.loads(error_text(error, job(MESSAGES))) == expected


def test_an_engines_error_type_without_a_status_is_replaced() -> None:
    error = EngineReportedError(422, {"message": "no", "type": "odd", "param": None, "code": 422})
    expected = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    assert json.loads(error_text(error, job(MESSAGES))) == expected


def test_another_message_keeps_the_form() -> None:
    error = error_from_response(404, json.dumps(ENGINE_ERROR).encode())
    assert isinstance(error, EngineReportedError)
    expected = {**ENGINE_ERROR, "error": {"type": "NotFoundError", "message": "try b", "extra": 1}}
    assert json.loads(error_text(error.with_message("try b"), job(MESSAGES))) == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 504])
def test_the_status_of_an_error_follows_from_its_type(status: int) -> None:
    """Anthropic's form has no code."""
    for route in (MESSAGES, CHAT):
        error = json.loads(error_text(WorkerError("x", status=status), job(route)))
        assert status_of_type(error.get("error", error)["type"]) == status
    assert [status_of_type(word) for word in ("Bad Request", "Internal Server Error", "nonsense")] == [400, 500, None]


def test_a_lone_surrogate_of_the_callers_is_replaced() -> None:
    assert json.loads(error_text(RequestError("\ud800"), job(MESSAGES)))["error"]["message"] == "?"
