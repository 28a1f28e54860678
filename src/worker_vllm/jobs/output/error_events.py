"""An error in the words of the route that was asked: Anthropic's form on Anthropic's routes, OpenAI's elsewhere.

The one place that knows both. It takes the raw job, which is all that whoever delivers jobs has, and which is there
too when a job is refused before it is understood.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import EngineAnswer, WorkerError, anthropic_type, status_of_type
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.request.routes import ROUTE_KEYS, speaks_anthropic
from worker_vllm.json_bytes import dump


def error_text(error: WorkerError, job: Mapping[str, Any]) -> str:
    """What the failed job carries as its `error`: the JSON text of the error in the route's form."""
    return _text(_anthropic(error)) if _is_anthropic(job) else error.to_json()


def error_body(error: WorkerError, job: Mapping[str, Any]) -> bytes:
    """The HTTP body that a client of the route expects for the error."""
    return (_text(_anthropic(error)) if _is_anthropic(job) else error.to_body()).encode()


def error_events(error: WorkerError, job: Mapping[str, Any]) -> bytes:
    """The last events of a stream that failed, as the route's own clients understand them."""
    if _is_anthropic(job):
        return b"event: error\n" + sse.event(_anthropic(error))
    return b"data: " + error.to_body().encode() + b"\n\n" + sse.DONE


def in_band_error(error: WorkerError, job: Mapping[str, Any], *, raw: bool) -> Output:
    """The error as the last output of a stream, as events or (without `raw`) as a list of what they would hold."""
    if raw:
        return Output(error_events(error, job), sse=True)
    return Output(dump([_anthropic(error) if _is_anthropic(job) else {"error": error.error}]))


def _anthropic(error: WorkerError) -> Mapping[str, Any]:
    if isinstance(error, EngineAnswer):
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


def _text(value: object) -> str:
    """JSON text; a lone surrogate of the caller's, quoted in the message, is replaced."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
