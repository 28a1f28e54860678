"""What is known of one job or request: collected while it runs, complete when it ends.

The record is in a context variable of the job's task, so that each part of the worker notes what it alone knows.
Standard library only: the light start imports this.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from worker_vllm.errors import EngineUnavailable, Overloaded, WorkerError
from worker_vllm.observability.trace_context import TraceContext

USAGE_BYTES = 2_000  # of the end of a response or of a part of it, where its usage is searched
TAG_BYTES = 8
NAME_LENGTH = 200  # of a name that a request has chosen
REQUEST_ID, TRACEPARENT = "X-Request-Id", "traceparent"
# Token counts in a response of any of the engine's APIs. Inside a JSON text the closing quote would be escaped.
COUNTS = re.compile(rb'"?(prompt_tokens|input_tokens|completion_tokens|output_tokens|cached_tokens)":\s?(\d+)')
NAMES = {
    b"prompt_tokens": "prompt",
    b"input_tokens": "prompt",
    b"completion_tokens": "completion",
    b"output_tokens": "completion",
    b"cached_tokens": "cached",
}


@dataclass(slots=True)
class Tokens:
    """Token counts; `source` names who counted: `engine` (exact), `response`, `events` (a lower bound), or `` ``."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class RequestUsage:
    """The engine's report of one finished or aborted sequence.

    `unfinished` counts the sequences of the same request that have no report yet. Times are seconds; the echo engine
    has none.
    """

    tag: str
    prompt: int
    cached: int
    completion: int
    unfinished: int
    wait_s: float | None = None  # in the engine's queue
    first_token_s: float | None = None  # from its arrival in the engine
    decode_s: float | None = None  # from the first token to the last


@dataclass(slots=True)
class Traffic:
    """POSTs to the platform so far, by message; plain numbers, since thousands of pieces are posted a second."""

    posts: dict[str, int] = field(default_factory=lambda: {"stream": 0, "done": 0})
    size: dict[str, int] = field(default_factory=lambda: {"stream": 0, "done": 0})
    repeated: dict[str, int] = field(default_factory=lambda: {"stream": 0, "done": 0})


def _unregistered(tag: str, record: JobRecord) -> None:
    """The registration of a record that nobody keeps."""


@dataclass(slots=True, eq=False)
class JobRecord:
    """One job. Times ending in `_at` are of the monotonic clock; `taken_ns` is nanoseconds since 1970."""

    job_id: str
    taken_at: float = field(default_factory=time.monotonic)
    taken_ns: int = field(default_factory=time.time_ns)
    kind: str = "invalid"
    route: str = "none"
    model: str | None = None
    adapter: str | None = None
    streamed: bool = False
    outcome: str = ""
    error: str | None = None  # the error's class
    status: int | None = None  # the error's HTTP status
    cancelled_by: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    queue_delay_s: float | None = None
    engine_wait_s: float | None = None
    decode_s: float = 0.0  # of all sequences together
    gaps: int = 0  # between tokens of one sequence, of all sequences
    engine_first_token_s: float | None = None
    sent_at: float | None = None  # when the first request went to the engine
    first_token_at: float | None = None
    generated_at: float | None = None  # when the engine's work was over
    ended_at: float | None = None
    pieces: int = 0
    posted_bytes: int = 0
    retries: int = 0
    trace: TraceContext | None = None
    traffic: Traffic = field(default_factory=Traffic)
    waiting: set[str] = field(default_factory=set)  # tags of requests whose usage the engine has not reported whole
    tags: list[str] = field(default_factory=list)  # of all its requests
    events: int = 0
    last_usage: bytes = b""  # the last part of the response that may have token counts
    part_before: bytes = b""  # the part before it: the usage may be followed by an end event of its own
    register: Callable[[str, JobRecord], None] = _unregistered

    def request_headers(self, *, generates: bool) -> dict[str, str]:
        """Headers for a request to the engine: this job's trace and, for one that generates, an id of its own.

        The id is a random tag, by which the engine's report of the usage names it. It stands in every event of a
        stream, so it is short.
        """
        found = {} if self.trace is None else {TRACEPARENT: self.trace.traceparent}
        if generates:
            tag = secrets.token_hex(TAG_BYTES)
            self.expect(tag)
            found[REQUEST_ID] = tag
        return found

    def expect(self, tag: str) -> None:
        """A request with this tag goes to the engine, which will report its usage."""
        if self.sent_at is None:
            self.sent_at = time.monotonic()
        self.tags.append(tag)
        self.waiting.add(tag)
        self.register(tag, self)

    def withdraw(self, headers: Mapping[str, str]) -> None:
        """The engine has refused the request with these headers: it will not report its usage."""
        self.waiting.discard(headers.get(REQUEST_ID, ""))

    def add_usage(self, usage: RequestUsage) -> None:
        """Add the engine's report of one sequence."""
        tokens = self.tokens
        if tokens.source != "engine":
            tokens = self.tokens = Tokens(source="engine")
        tokens.prompt += usage.prompt
        tokens.cached += usage.cached
        tokens.completion += usage.completion
        if usage.wait_s is not None:
            self.engine_wait_s = max(self.engine_wait_s or 0.0, usage.wait_s)
        if usage.completion and usage.decode_s is not None:
            self.decode_s += usage.decode_s
            self.gaps += usage.completion - 1
        if usage.completion and (first := usage.first_token_s) is not None:
            known = self.engine_first_token_s
            self.engine_first_token_s = first if known is None else min(first, known)
        if not usage.unfinished:
            self.waiting.discard(usage.tag)

    def count_post(self, message: str, size: int, *, repeated: bool) -> None:
        """One POST to the platform."""
        traffic = self.traffic
        traffic.posts[message] += 1
        traffic.size[message] += size
        self.posted_bytes += size
        if repeated:
            traffic.repeated[message] += 1
            self.retries += 1
        elif message == "stream":
            self.pieces += 1

    def read_events(self, run: bytes) -> None:
        """Note the token counts in a part of the engine's stream."""
        self.events += run.count(b"data:")
        if run:
            self.part_before, self.last_usage = self.last_usage, run[-USAGE_BYTES:]

    def settle_tokens(self) -> None:
        """Where the engine has reported no usage, take the counts from its response, or count its events."""
        if self.tokens.source == "engine":
            return
        if found := {NAMES[name]: int(count) for name, count in COUNTS.findall(self.part_before + self.last_usage)}:
            self.tokens = Tokens(**found, source="response")
        elif self.events:
            self.tokens = Tokens(completion=self.events, source="events")

    def note_model(self, asked: str | None, served: Sequence[str]) -> None:
        """The model that was asked for; a name that is none of the served model's names is an adapter's."""
        asked = asked and asked[:NAME_LENGTH]
        if asked and served and asked not in served:
            self.model, self.adapter = served[0], asked
        else:
            self.model = asked or (served[0] if served else None)

    def fail(self, error: WorkerError) -> None:
        """The job failed with this error; the first call counts."""
        if self.outcome:
            return
        full = isinstance(error, Overloaded | EngineUnavailable)
        self.outcome = "refused" if 400 <= error.status < 500 and not full else "failed"
        self.error, self.status = type(error).__name__, error.status
        if error.status == 404:
            self.unknown_model()

    def unknown_model(self) -> None:
        """Clear the adapter: the requested name is not one either."""
        if self.adapter is not None:
            self.model, self.adapter = self.adapter, None

    def end(self, outcome: str, by: str) -> None:
        """The job was ended before its end; this outcome counts, also after an error."""
        self.outcome, self.cancelled_by = outcome, by

    @property
    def duration_s(self) -> float:
        """From the taking of the job to the end of its delivery, or to now."""
        return (time.monotonic() if self.ended_at is None else self.ended_at) - self.taken_at

    @property
    def first_token_s(self) -> float | None:
        """From the taking of the job to its first token: as seen here in a stream, else as the engine reports it."""
        if self.first_token_at is not None:
            return self.first_token_at - self.taken_at
        if self.engine_first_token_s is not None and self.sent_at is not None:
            return self.sent_at - self.taken_at + self.engine_first_token_s
        return None

    @property
    def inter_token_s(self) -> float | None:
        """The mean time between two tokens of one sequence, where the engine has reported it."""
        return self.decode_s / self.gaps if self.gaps and self.decode_s > 0 else None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens generated a second, from the first token to the end of the engine's work."""
        first, end = self.first_token_s, self.generated_at or self.ended_at
        if first is None or end is None or self.tokens.completion < 2:
            return None
        span = end - self.taken_at - first
        return (self.tokens.completion - 1) / span if span > 0 else None


current_record: ContextVar[JobRecord | None] = ContextVar("current_record", default=None)
