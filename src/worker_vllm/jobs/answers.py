"""What the engine answered: its errors as ours with their own words kept, its values as JSON text."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from worker_vllm.errors import EngineAnswer, EngineError, Overloaded, WorkerError
from worker_vllm.jobs.jsontext import dump

OVERLOADED = (429, 503)
QUOTED_CHARACTERS = 500


class EngineOverloaded(EngineAnswer, Overloaded):
    """The engine says, in its own words, that it is full; the same request may succeed later."""


def error_of(status: int, body: bytes) -> WorkerError:
    """The error that an engine answer of 400 or more means."""
    error = _error_object(body)
    if error is None:
        text = body.decode("utf-8", "replace").strip()[:QUOTED_CHARACTERS]
        message = f"the engine answered {status}: {text or 'nothing'}"
        return Overloaded(message, status=status) if status in OVERLOADED else EngineError(message, status=status)
    return reported(error, status)


def reported(error: Mapping[str, Any], status: int = 500) -> WorkerError:
    """The error in an error object: its own code is its status; one without, as Anthropic's, gets `status`."""
    code = error.get("code")
    if isinstance(code, int) and 400 <= code <= 599:
        status = code
    else:
        error = {"param": None, **error, "code": status}
    return EngineOverloaded(status, error) if status in OVERLOADED else EngineAnswer(status, error)


def value_of(content_type: str, body: bytes, metadata: str | None = None) -> bytes:
    """JSON text of an answer: JSON as it is, text as a string, anything else in base64 with its content type.

    `metadata` is the header in which vLLM says what binary vectors are (index, shape, dtype and place of each).
    """
    kind = content_type.partition(";")[0].strip().lower() or _guessed(body)
    if kind == "application/json" or kind.endswith("+json"):
        return body or b"null"
    if kind.startswith("text/"):
        return dump(body.decode("utf-8", "replace"))
    told = {} if metadata is None else {"metadata": json.loads(metadata)}
    return dump({"content_type": kind, "base64": base64.b64encode(body).decode("ascii"), **told})


def _guessed(body: bytes) -> str:
    """The content type of an answer that names none, as vLLM 0.32's adapter routes answer with a bare sentence."""
    try:
        json.loads(body or b"null")
    except ValueError:
        return "text/plain"
    return "application/json"


def _error_object(body: bytes) -> dict[str, Any] | None:
    """OpenAI's and Anthropic's `{"error": {…}}`, the old flat `{"object": "error", …}`, FastAPI's `{"detail": …}`."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error", value)
    if isinstance(error, dict) and "message" in error:
        return {key: item for key, item in error.items() if key != "object"}
    return None
