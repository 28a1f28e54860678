"""Server-sent events as bytes: found by their boundaries, never decoded in pieces, never re-encoded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from worker_vllm.json_bytes import dump

DONE = b"data: [DONE]\n\n"
BOUNDARIES = (b"\n\n", b"\r\n\r\n")


class Framer:
    """Turns arbitrary pieces of a stream into runs of whole events; keeps the unfinished rest."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Every event that is whole by now, as one run of bytes; empty while none is."""
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
    """The events of a run of whole events, each with its closing blank line."""
    boundary = b"\n\n" if b"\n\n" in run else b"\r\n\r\n"
    for event in run.split(boundary):
        if event.strip():
            yield event + boundary


def is_done(run: bytes) -> bool:
    """Whether the run closes with `[DONE]`."""
    return run.rstrip().endswith(DONE.rstrip())


def has_comment(run: bytes) -> bool:
    """Whether a line of the run is a comment, as keep-alives are."""
    return run.startswith(b":") or b"\n:" in run


def without_comments(run: bytes) -> bytes:
    """The run without its comment lines, and without events that held nothing else."""
    kept = []
    for event in events(run):
        lines = [line for line in event.splitlines(keepends=True) if not line.startswith(b":")]
        if any(line.strip() for line in lines):
            kept.append(b"".join(lines))
    return b"".join(kept)


def data_of(event: bytes) -> bytes:
    """The payload of an event: its data lines joined, empty when it has none."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def parsed(event: bytes) -> Any:
    """The JSON value that an event carries; None for `[DONE]`, an empty event or text that is not JSON."""
    try:
        return json.loads(data_of(event))
    except ValueError:
        return None


def event(value: object) -> bytes:
    """One event carrying a JSON value."""
    return b"data: " + dump(value) + b"\n\n"


def may_hold_error(run: bytes) -> bool:
    """A cheap look that has no false negatives: inside JSON strings a quote is escaped, so keys stand out."""
    return b'"error"' in run or b"event: error" in run or b"event: response.failed" in run


def only_opens(run: bytes) -> bool:
    """Whether every event of the run names a role, as the first events of a chat do and no later one."""
    return run.count(b'"role":') >= run.count(b"data:")


def cut_at_error(run: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """The run up to its first event that reports an error, that one included, and the error object in it."""
    position = 0
    for one in events(run):
        position += len(one)
        error = _error_in(parsed(one))
        if error is not None:
            return run[:position], error
    return None


def _error_in(value: object) -> dict[str, Any] | None:
    """OpenAI's form, Anthropic's (`type` beside it), the Responses API's: the event is it, or holds a failure."""
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
