"""What the engine answered: its errors as ours with their own words kept, its values as JSON text."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import EngineAnswer, EngineError, Overloaded, WorkerError
from worker_vllm.json_bytes import dump

OVERLOADED = (429, 503)
QUOTED_CHARACTERS = 500
QUOTED_BYTES = 80


class EngineOverloaded(EngineAnswer, Overloaded):
    """The engine says, in its own words, that it is full; the same request may succeed later."""


def error_of(status: int, body: bytes) -> WorkerError:
    """The error that an engine answer of 400 or more means."""
    value = _json_object(body)
    error = _error_object(value)
    if error is None:
        text = body.decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS]
        message = f"the engine answered {status}: {text or 'nothing'}"
        return Overloaded(message, status=status) if status in OVERLOADED else EngineError(message, status=status)
    return reported(error, status, anthropic=value if value.get("type") == "error" and "error" in value else None)


def reported(
    error: Mapping[str, Any], status: int = 500, *, anthropic: Mapping[str, Any] | None = None
) -> WorkerError:
    """The error in an error object: its own code is its status; one without, as Anthropic's, gets `status`.

    `anthropic` is the whole of what was said, where it had Anthropic's form.
    """
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    else:
        error = {"param": None, **error, "code": status}
    kind = EngineOverloaded if status in OVERLOADED else EngineAnswer
    return kind(status, error, anthropic=anthropic)


def value_of(content_type: str, body: bytes, metadata: str | None = None) -> bytes:
    """JSON text of an answer: JSON as it is, text as a string, anything else in base64 with its content type.

    `metadata` is the header in which vLLM says what binary vectors are (index, shape, dtype and place of each).
    Raises EngineError for an answer that says JSON and is not: spliced into a result it would spoil the whole of it.
    """
    kind = content_type.partition(";")[0].strip().lower() or _guessed(body)
    if kind == "application/json" or kind.endswith("+json"):
        return checked_json(body, kind)
    if kind.startswith("text/"):
        return dump(body.decode("utf-8", "replace"))
    told = (
        {} if metadata is None else {"metadata": json.loads(checked_json(metadata.encode(), "the metadata header"))}
    )
    return dump({"content_type": kind, "base64": base64.b64encode(body).decode("ascii"), **told})


def checked_json(body: bytes, what: str) -> bytes:
    """The body, which says that it is JSON, without a byte order mark; `null` for an empty one.

    Raises EngineError when it is no JSON, no UTF-8, or nested deeper than can be read here.
    """
    body = body.removeprefix(codecs.BOM_UTF8) or b"null"
    try:
        json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as bad:
        reason = "nested too deeply" if isinstance(bad, RecursionError) else str(bad)
        raise EngineError(
            f"the engine's answer says {what} and cannot be read as that ({reason}): expected JSON in UTF-8, got "
            f"{body[:QUOTED_BYTES]!r}; send the request again, and see the engine's log if that fails too"
        ) from None
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _guessed(body: bytes) -> str:
    """The content type of an answer that names none, as vLLM 0.32's adapter routes answer with a bare sentence."""
    try:
        checked_json(body, "")
    except EngineError:
        return "text/plain"
    return "application/json"


def _json_object(body: bytes) -> dict[str, Any]:
    """The object that a body is; an empty one when it is something else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _error_object(value: dict[str, Any]) -> dict[str, Any] | None:
    """OpenAI's and Anthropic's `{"error": {…}}`, the old flat `{"object": "error", …}`, FastAPI's `{"detail": …}`."""
    error = value.get("error", value)
    if isinstance(error, dict) and "message" in error:
        return {key: item for key, item in error.items() if key != "object"}
    return None
