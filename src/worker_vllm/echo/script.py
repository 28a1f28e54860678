"""Scripts for the echo engine: a request's speed, reply and failures.

Later sources override earlier ones: the process's defaults, the control channel, the body's `"echo": {...}`, and a
directive at the start of the prompt or last user message, `[[echo {"ttft_ms": 50}]]`, which works on any route.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import RequestError

OPENING, CLOSING = "[[echo ", "]]"


@dataclass(frozen=True, slots=True)
class Script:
    """The script of one request; times in milliseconds, `*_after` in tokens of all its sequences."""

    ttft_ms: float = 0.0  # duration of the prefill: from slot to first token
    tpot_ms: float = 0.0  # between tokens, where the process has no common step
    merge: int = 1  # tokens per event, as vLLM merges them for a slow reader
    text: str | None = None  # the reply, instead of the prompt's text
    texts: tuple[str, ...] = ()  # the reply of each sequence of n > 1
    reasoning: str | None = None  # reasoning before the reply
    logprob: tuple[float, ...] = (-0.1,)  # of every token, one value per sequence; the last one applies to the rest
    status: int | None = None  # respond with this HTTP status
    message: str = "scripted failure"
    retry_after: str | None = None  # header of that response
    fail_after: int | None = None  # an engine error: an event in a stream, else HTTP 500
    hang_after: int | None = None  # no more tokens, the connection stays open
    disconnect_after: int | None = None  # the connection is aborted; 0: before the first byte
    exit_after: int | None = None  # the process exits
    exit_code: int = 1
    gate: str | None = None  # wait for a permit of this gate before each token
    comments: bool = False  # a keep-alive comment before every event
    split_utf8: bool = False  # every write is split inside its first multi-byte character

    @property
    def first_failure(self) -> float:
        """Tokens before the first scripted failure."""
        after = (self.fail_after, self.hang_after, self.disconnect_after, self.exit_after)
        return min((count for count in after if count is not None), default=math.inf)

    @property
    def plain_writes(self) -> bool:
        """Whether every event is one unchanged write."""
        return not self.comments and not self.split_utf8


LISTS = {"texts": str, "logprob": float}
SAMPLE = Script(text="", reasoning="", retry_after="", gate="")
NUMBERS = ("status", "fail_after", "hang_after", "disconnect_after", "exit_after")


def override(script: Script, changes: Any) -> Script:
    """The script with a JSON object's values applied. Raises RequestError for an unknown field or a wrong type."""
    if not isinstance(changes, Mapping):
        raise RequestError("echo: expected an object", param="echo")
    fields = {field.name for field in dataclasses.fields(Script)}
    for name in changes:
        if name not in fields:
            raise RequestError(f"echo: unknown field {name!r}; known: {', '.join(sorted(fields))}", param="echo")
    return dataclasses.replace(script, **{name: _value(name, value) for name, value in changes.items()})


def _value(name: str, value: Any) -> Any:
    if name in LISTS:
        values = value if isinstance(value, list) else [value]
        if not values:
            raise RequestError(f"echo: {name} needs at least one value", param="echo")
        return tuple(_scalar(name, item, LISTS[name]) for item in values)
    if name in NUMBERS:
        return None if value is None else _scalar(name, value, int)
    return _scalar(name, value, type(getattr(SAMPLE, name)))


def _scalar(name: str, value: Any, kind: type) -> Any:
    """The value if it has this type; an integer is accepted as float. Raises RequestError."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is kind:
        return value
    raise RequestError(f"echo: {name}={value!r}: expected {kind.__name__}", param="echo")


def split_directive(text: str) -> tuple[Mapping[str, Any], str]:
    """Split off the directive at the start of a text: its changes, and the rest of the text. Raises RequestError."""
    if not text.startswith(OPENING):
        return {}, text
    try:
        changes, end = json.JSONDecoder().raw_decode(text, len(OPENING))
    except ValueError as error:
        raise RequestError(f"echo: the directive is not JSON: {error}", param="echo") from error
    if not text.startswith(CLOSING, end):
        raise RequestError(f"echo: the directive must end with {CLOSING}", param="echo")
    return changes, text[end + len(CLOSING) :]
