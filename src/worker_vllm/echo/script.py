"""What the echo engine is told to do with a request: its speed, its words, its failures.

Later sources win: the process's defaults, the control channel, the body's `"echo": {...}`, and a directive at the
start of the prompt or of the last user message, `[[echo {"ttft_ms": 50}]]`, which any route carries.
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
    """One request's script; times in milliseconds, `*_after` in tokens of the whole request."""

    ttft_ms: float = 0.0  # the prefill's length: first token this long after the request got its slot
    tpot_ms: float = 0.0  # between tokens, unless the process steps all streams together
    merge: int = 1  # tokens per event, as vLLM merges them for a reader that lags
    text: str | None = None  # the reply, instead of the question
    texts: tuple[str, ...] = ()  # the reply of each sequence of n > 1
    reasoning: str | None = None  # thought before the reply
    logprob: tuple[float, ...] = (-0.1,)  # of every token, per sequence; the last one goes on for the others
    status: int | None = None  # refuse with this HTTP status
    message: str = "scripted failure"
    retry_after: str | None = None  # header of such a refusal
    fail_after: int | None = None  # the engine breaks: an error event in a stream, else HTTP 500
    hang_after: int | None = None  # nothing more, connection open
    disconnect_after: int | None = None  # the connection breaks off; 0 is before any byte of the answer
    exit_after: int | None = None  # the process dies
    exit_code: int = 1
    gate: str | None = None  # wait for a permit of this gate before each token
    comments: bool = False  # a keep-alive comment before every event
    split_utf8: bool = False  # every write broken inside its first multi-byte character

    @property
    def first_trouble(self) -> float:
        """Tokens before the first scripted failure."""
        after = (self.fail_after, self.hang_after, self.disconnect_after, self.exit_after)
        return min((count for count in after if count is not None), default=math.inf)

    @property
    def plain_writes(self) -> bool:
        """Whether every event is written as it is."""
        return not self.comments and not self.split_utf8


LISTS = {"texts": str, "logprob": float}
SAMPLE = Script(text="", reasoning="", retry_after="", gate="")
NUMBERS = ("status", "fail_after", "hang_after", "disconnect_after", "exit_after")


def override(script: Script, changes: Any) -> Script:
    """The script with a JSON object's values on top. Raises RequestError, naming the field, for a wrong one."""
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
    """JSON's own type, or text that says the same (a whole number where a float is wanted counts)."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if type(value) is kind:
        return value
    raise RequestError(f"echo: {name}={value!r}: expected {kind.__name__}", param="echo")


def split_directive(text: str) -> tuple[Mapping[str, Any], str]:
    """The directive that a text starts with, and the rest of the text."""
    if not text.startswith(OPENING):
        return {}, text
    try:
        changes, end = json.JSONDecoder().raw_decode(text, len(OPENING))
    except ValueError as error:
        raise RequestError(f"echo: the directive is not JSON: {error}", param="echo") from error
    if not text.startswith(CLOSING, end):
        raise RequestError(f"echo: the directive must end with {CLOSING}", param="echo")
    return changes, text[end + len(CLOSING) :]
