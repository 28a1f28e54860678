"""Converts a job's result or error to the HTTP response of an OpenAI route. Pure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import status_of_type
from worker_vllm.gateway.server.response import EVENT_STREAM_TYPE, JSON_UTF8_TYPE
from worker_vllm.gateway.state.job import ABSENT, Job, Status
from worker_vllm.json_bytes import dump

ERROR_EVENTS = ('data: {"error"', "event: error\n")  # OpenAI's, Anthropic's
BINARY_KEYS = frozenset({"content_type", "base64", "metadata"})
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
ERROR_KEYS = frozenset({"message", "type", "param", "code"})


@dataclass(frozen=True, slots=True)
class OpenAIAnswer:
    """A complete HTTP response. `metadata` is vLLM's header of that name, which describes a binary body."""

    status: int
    body: bytes
    content_type: bytes = JSON_UTF8_TYPE
    metadata: bytes = b""


def of_failure(error: str) -> OpenAIAnswer:
    """The response for a failed job: an OpenAI or Anthropic error has its own status, any other text is a 500."""
    found = _parsed(error)
    return _anthropic(found) or _openai(found) or OpenAIAnswer(500, dump({"error": error}))


def of_error_event(piece: Any) -> OpenAIAnswer | None:
    """The response for a stream whose first event is an error; None for any other piece."""
    if not isinstance(piece, str) or not piece.startswith(ERROR_EVENTS):
        return None
    data = piece.removeprefix(ERROR_EVENTS[1]).partition("\n")[0].removeprefix("data: ")
    found = _parsed(data)
    return _anthropic(found) or (_openai(found.get("error")) if isinstance(found, dict) else None)


def is_terminated(written: bytes) -> bool:
    """Whether the last event of a stream is `[DONE]` or an error of Anthropic's form, which stands alone."""
    last = written.rstrip().rpartition(b"\n\n")[2]
    return last.startswith((b"data: [DONE]", b"event: error\n"))


def of_ended(job: Job, *, sort_keys: bool) -> OpenAIAnswer:
    """The response for an ended job of which nothing was sent. Of a list (a generator's outputs), the first item."""
    if job.status in (Status.FAILED, Status.TIMED_OUT) and job.error is not None:
        return of_failure(job.error) if job.status is Status.FAILED else _timeout(job.error)
    if job.status is Status.CANCELLED:
        return _error(499, "CancelledError", f'job "{job.id}" was cancelled')
    output = job.output
    if isinstance(output, list) and output and all(isinstance(item, str) for item in output):
        if output[0].startswith(("data:", "event:", ":")):
            return OpenAIAnswer(200, "".join(output).encode(errors="replace"), EVENT_STREAM_TYPE)
        return OpenAIAnswer(200, output[0].encode(errors="replace"))
    if isinstance(output, list) and output:
        output = output[0]
    if isinstance(output, str):
        return OpenAIAnswer(200, output.encode(errors="replace"))
    if binary := _binary(output):
        return binary
    return OpenAIAnswer(200, b"" if output is ABSENT else dump(output, sort_keys=sort_keys))


def _binary(output: Any) -> OpenAIAnswer | None:
    """The bytes of an output that the worker reported in base64, as it does for an answer that is neither JSON nor
    text (embeddings with `encoding_format` bytes); None for any other output."""
    if not isinstance(output, dict) or not output.keys() <= BINARY_KEYS:
        return None
    content_type, text = output.get("content_type"), output.get("base64")
    if not isinstance(content_type, str) or not isinstance(text, str) or not MEDIA_TYPE.fullmatch(content_type):
        return None
    try:
        body = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    metadata = json.dumps(output["metadata"]).encode() if "metadata" in output else b""
    return OpenAIAnswer(200, body, content_type.encode(), metadata)


def of_expired_wait(job: Job, status: int, *, sort_keys: bool) -> OpenAIAnswer:
    """The response when the wait time ends before the job: its status object."""
    return OpenAIAnswer(status, dump(job.to_client(), sort_keys=sort_keys))


def error_event(error: str) -> bytes:
    """The event that ends a started stream with an error, in the error's own format; OpenAI's for other text."""
    found = _parsed(error)
    if anthropic := _anthropic(found):
        return b"event: error\ndata: %s\n\n" % anthropic.body
    failure = _openai(found) or _error(500, "InternalServerError", error)
    return b"data: %s\n\ndata: [DONE]\n\n" % failure.body


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _openai(error: Any) -> OpenAIAnswer | None:
    status = _status_of(error)
    return None if status is None else OpenAIAnswer(status, dump({"error": error}))


def _anthropic(found: Any) -> OpenAIAnswer | None:
    """The response for an error in Anthropic's format, unchanged; the status follows from its type."""
    if not isinstance(found, dict) or found.get("type") != "error" or not isinstance(found.get("error"), dict):
        return None
    return OpenAIAnswer(status_of_type(found["error"].get("type")) or 500, dump(found))


def _timeout(message: str) -> OpenAIAnswer:
    return _error(504, "TimeoutError", message)


def _error(status: int, kind: str, message: str) -> OpenAIAnswer:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return OpenAIAnswer(status, dump({"error": error}))


def _status_of(error: Any) -> int | None:
    if isinstance(error, dict) and error.keys() >= ERROR_KEYS:
        code = error["code"]
        if isinstance(code, int) and 400 <= code <= 599:
            return code
    return None
