"""Server-sent events as bytes, found by their boundaries; they are passed on without decoding. A run is one or more
complete events.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from worker_vllm.json_bytes import dump

DONE = b"data: [DONE]\n\n"
BOUNDARIES = (b"\n\n", b"\r\n\r\n")


class Framer:
    """Turns arbitrary chunks of a stream into runs of complete events; buffers the incomplete rest."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """The events that this chunk completes, as one run; empty when it completes none."""
        data = self.rest + chunk if self.rest else chunk
        for boundary in BOUNDARIES:
            cut = data.rfind(boundary)
            if cut >= 0:
                cut += len(boundary)
                self.rest = data[cut:]
                return data[:cut] if self.rest else data
        self.rest = data
        return b""


def events(run: bytes) -> Iterator[bytes]:
    """The events of a run, each with its closing blank line."""
    boundary = b"\n\n" if b"\n\n" in run else b"\r\n\r\n"
    for event in run.split(boundary):
        if event.strip():
            yield event + boundary


def is_done(run: bytes) -> bool:
    """Whether the run ends with `[DONE]`."""
    return run.rstrip().endswith(DONE.rstrip())


def has_comment(run: bytes) -> bool:
    """Whether a line of the run is a comment, such as a keep-alive."""
    return run.startswith(b":") or b"\n:" in run


def without_comments(run: bytes) -> bytes:
    """The run without comment lines and without events that have no other line."""
    kept = []
    for event in events(run):
        lines = [line for line in event.splitlines(keepends=True) if not line.startswith(b":")]
        if any(line.strip() for line in lines):
            kept.append(b"".join(lines))
    return b"".join(kept)


def data_of(event: bytes) -> bytes:
    """The event's `data:` lines joined; empty when it has none."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def parsed(event: bytes) -> Any:
    """The event's data as a JSON value; None for `[DONE]`, an empty event or data that is not JSON."""
    try:
        return json.loads(data_of(event))
    except ValueError:
        return None


def event(value: object) -> bytes:
    """One event with a JSON value as its data."""
    return b"data: " + dump(value) + b"\n\n"


def may_hold_error(run: bytes) -> bool:
    """A fast search without false negatives; inside a JSON string the quotes of a key would be escaped."""
    return b'"error"' in run or b"event: error" in run or b"event: response.failed" in run


def only_roles(run: bytes) -> bool:
    """Whether every event of the run has a role, as only the first events of a chat have."""
    return run.count(b'"role":') >= run.count(b"data:")


def cut_at_error(run: bytes) -> tuple[bytes, bytes, dict[str, Any]] | None:
    """The run up to the first event that reports an error, that event, its error object; None without one."""
    position = 0
    for one in events(run):
        error = _error_in(parsed(one))
        if error is not None:
            return run[:position], one, error
        position += len(one)
    return None


def with_changed_data(event: bytes, change: Callable[[object], object]) -> bytes:
    """The event with its JSON value changed; byte by byte the same where that changes nothing."""
    value = parsed(event)
    changed = change(value)
    if changed == value:
        return event
    others = [line for line in event.splitlines(keepends=True) if line.strip() and not line.startswith(b"data:")]
    return b"".join(others) + b"data: " + dump(changed) + b"\n\n"


def _error_in(value: object) -> dict[str, Any] | None:
    """The error object in an event's value, in the form of OpenAI, Anthropic (with `type`) or the Responses API."""
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and (len(value) == 1 or value.get("type") == "error"):
        return error
    if value.get("type") == "error" and "message" in value:
        return {key: value.get(key) for key in ("message", "code", "param")}
    if value.get("type") == "response.failed":
        response = value.get("response")
        failure = response.get("error") if isinstance(response, dict) else None
        return failure if isinstance(failure, dict) else {"message": "the response failed"}
    return None
