"""Converts engine responses: error bodies to WorkerError with the engine's own message, other bodies to JSON text."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import EngineError, EngineReportedError, Overloaded, WorkerError
from worker_vllm.json_bytes import dump

OVERLOADED = (429, 503)
QUOTED_CHARACTERS = 500
QUOTED_BYTES = 80


class EngineOverloaded(EngineReportedError, Overloaded):
    """The engine's own error with status 429 or 503: it is full, and the same request may succeed later."""


def error_from_response(status: int, body: bytes) -> WorkerError:
    """The error in an engine response whose status is 400 or more."""
    value = _json_object(body)
    error = _error_object(value)
    if error is None:
        text = body.decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS]
        message = f"the engine answered {status}: {text or 'nothing'}"
        return Overloaded(message, status=status) if status in OVERLOADED else EngineError(message, status=status)
    is_anthropic = value.get("type") == "error" and "error" in value
    return error_from_object(error, status, anthropic=value if is_anthropic else None)


def error_from_object(
    error: Mapping[str, Any], status: int = 500, *, anthropic: Mapping[str, Any] | None = None
) -> WorkerError:
    """The error in an error object. Its status is `code`, or `status` where it has none, as in Anthropic's form.

    `anthropic` is the complete body, where the engine used Anthropic's form.
    """
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    else:
        error = {"param": None, **error, "code": status}
    kind = EngineOverloaded if status in OVERLOADED else EngineReportedError
    return kind(status, error, anthropic=anthropic)


def response_as_json(content_type: str, body: bytes, metadata: str | None = None) -> bytes:
    """A response body as JSON text: JSON unchanged, text as a string, anything else in base64 with its content type.

    `metadata` is the header in which vLLM describes binary vectors (index, shape, dtype and offset of each).
    Raises EngineError for a body declared as JSON that is invalid: spliced into a result, it would make the complete
    result unreadable.
    """
    kind = content_type.partition(";")[0].strip().lower() or _guess_content_type(body)
    if kind == "application/json" or kind.endswith("+json"):
        return validated_json(body, kind)
    if kind.startswith("text/"):
        return dump(body.decode("utf-8", "replace"))
    value: dict[str, Any] = {"content_type": kind, "base64": base64.b64encode(body).decode("ascii")}
    if metadata is not None:
        value["metadata"] = json.loads(validated_json(metadata.encode(), "the metadata header"))
    return dump(value)


def validated_json(body: bytes, what: str) -> bytes:
    """A body declared as JSON, without a byte order mark; `null` for an empty one. `what` names it in the error.

    Raises EngineError when it is not JSON, not UTF-8, or nested deeper than the parser can read.
    """
    body = body.removeprefix(codecs.BOM_UTF8) or b"null"
    try:
        json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as bad:
        reason = "nested too deeply" if isinstance(bad, RecursionError) else str(bad)
        raise EngineError(
            f"the engine's answer is declared as {what} and cannot be parsed ({reason}): expected JSON in UTF-8, got "
            f"{body[:QUOTED_BYTES]!r}; send the request again, and see the engine's log if that fails too"
        ) from None
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _guess_content_type(body: bytes) -> str:
    """The content type of a body without one, such as the plain sentences of vLLM 0.32's adapter routes."""
    try:
        validated_json(body, "")
    except EngineError:
        return "text/plain"
    return "application/json"


def _json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; an empty object when it is anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _error_object(value: dict[str, Any]) -> dict[str, Any] | None:
    """The error object of `{"error": {…}}` (OpenAI, Anthropic) or of a flat `{"object": "error", …}`; else None."""
    error = value.get("error", value)
    if isinstance(error, dict) and "message" in error:
        return {key: item for key, item in error.items() if key != "object"}
    return None
