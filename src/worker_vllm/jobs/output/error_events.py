"""Errors as a job reports them: in Anthropic's form on Anthropic's routes, in OpenAI's form on every other route.

The only module that knows both forms and the events that end a failed stream. Its functions take the raw job, because
job delivery has nothing else, and because a job can be refused before it is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import EngineReportedError, WorkerError, anthropic_type, json_text, status_of_type
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.request.routes import ROUTE_KEYS, speaks_anthropic
from worker_vllm.json_bytes import dump


class StreamAlreadyFailed(Exception):
    """The job failed with `error`, and its stream contains the engine's event for it: the worker adds none."""

    def __init__(self, error: WorkerError) -> None:
        super().__init__(str(error))
        self.error = error


def error_text(error: WorkerError, job: Mapping[str, Any]) -> str:
    """The failed job's `error` string: JSON text of the error object in the route's form."""
    return json_text(_anthropic_error(error)) if _is_anthropic(job) else error.to_json()


def error_body(error: WorkerError, job: Mapping[str, Any]) -> bytes:
    """The error as the HTTP body that a client of the route expects."""
    return (json_text(_anthropic_error(error)) if _is_anthropic(job) else error.to_body()).encode()


def error_events(error: WorkerError, job: Mapping[str, Any]) -> bytes:
    """The server-sent events that end a failed stream, in the route's form."""
    if _is_anthropic(job):
        return b"event: error\n" + sse.event(_anthropic_error(error))
    return b"data: " + error.to_body().encode() + b"\n\n" + sse.DONE


def in_band_error(error: WorkerError, job: Mapping[str, Any], *, raw: bool) -> Output:
    """The error as the last output of a stream: events, or without `raw` a list with the error object."""
    if raw:
        return Output(error_events(error, job), sse=True)
    return Output(dump([_anthropic_error(error) if _is_anthropic(job) else {"error": error.error}]))


def _anthropic_error(error: WorkerError) -> Mapping[str, Any]:
    """Anthropic's error object; the engine's own one, or its own error type, where it has one."""
    if isinstance(error, EngineReportedError):
        if error.anthropic is not None:
            return error.anthropic
        kind = error.error.get("type")
        if status_of_type(kind) == error.status:
            return {"type": "error", "error": {"type": kind, "message": error.message}}
    return {"type": "error", "error": {"type": anthropic_type(error.status), "message": error.message}}


def _is_anthropic(job: Mapping[str, Any]) -> bool:
    given = job.get("input")
    if not isinstance(given, Mapping):
        return False
    return speaks_anthropic(next((given[key] for key in ROUTE_KEYS if given.get(key)), None))
