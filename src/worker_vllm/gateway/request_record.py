"""One finished request as a person reads it: route, status, times, tokens, and the hint of a refusal."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from worker_vllm.gateway.state.job import ABSENT, Job, Status

PARSED_BYTES = 200_000  # a larger input is named by its beginning alone
LONGEST_HINT = 300
ROUTE = re.compile(rb'\{"openai_route": ?"([^"\\]{1,200})"')
TOKENS_IN = re.compile(r'"(?:prompt_tokens|input_tokens|input)"\s*:\s*(\d+)')
TOKENS_OUT = re.compile(r'"(?:completion_tokens|output_tokens|output)"\s*:\s*(\d+)')
HTTP_STATUS = {Status.COMPLETED: "200", Status.CANCELLED: "cancelled", Status.TIMED_OUT: "timed out"}


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Times are seconds; `at` is the time of its end since 1970. None stands for what is not known."""

    number: int
    at: float
    endpoint: str
    id: str
    route: str
    status: str
    worker: str
    wait_s: float | None
    first_s: float | None
    total_s: float
    tokens_in: int | None
    tokens_out: int | None
    estimated: bool  # tokens_out is the number of a stream's events: the client asked for no usage
    tokens_per_s: float | None  # from its start on a worker to its end
    hint: str


@dataclass(slots=True)
class Usage:
    """The tokens of one request as far as its output contains counts."""

    tokens_in: int | None = None
    tokens_out: int | None = None
    events: int = 0

    def read(self, output: Any) -> None:
        """Take the usage that an output or a piece of a stream contains; its events are counted."""
        if isinstance(output, str):
            self.events += output.count("data: {")
            self.read_text(output)
        elif isinstance(output, list):
            for item in output:
                self.read(item)
        elif isinstance(output, dict) and isinstance(output.get("usage"), dict):
            self.read_text(json.dumps({"usage": output["usage"]}))

    def read_text(self, text: str) -> None:
        """Take the last usage of this text."""
        at = text.rfind('"usage"')
        if at < 0:
            return
        if found := TOKENS_IN.search(text, at):
            self.tokens_in = int(found[1])
        if found := TOKENS_OUT.search(text, at):
            self.tokens_out = int(found[1])

    @property
    def generated(self) -> int | None:
        """The tokens that were generated: as reported, else one for each event of the stream but first and last."""
        return self.tokens_out if self.tokens_out is not None else (max(0, self.events - 2) or None)


def record(endpoint: str, job: Job, first: float | None, usage: Usage, *, offset: float) -> RequestRecord:
    """The record of an ended job; `first` is when its first piece came, `offset` the clock's distance from 1970."""
    ended = job.created if job.ended is None else job.ended
    if job.output is not ABSENT and usage.tokens_out is None and usage.events == 0:
        usage.read(job.output)
        usage.events = 0
    status, hint = _outcome(job)
    tokens = usage.generated
    rate = tokens / (ended - job.started) if tokens and job.started is not None and ended > job.started else None
    return RequestRecord(
        number=0,
        at=ended + offset,
        endpoint=endpoint,
        id=job.id,
        route=route_of(job.submission.input),
        status=status,
        worker=job.worker or "",
        wait_s=None if job.started is None else job.started - job.created,
        first_s=None if first is None else first - job.created,
        total_s=ended - job.created,
        tokens_in=usage.tokens_in,
        tokens_out=tokens,
        estimated=usage.tokens_out is None and tokens is not None,
        tokens_per_s=rate,
        hint=hint,
    )


def route_of(text: bytes) -> str:
    """The route that a job's input names; `native` without one."""
    if found := ROUTE.match(text):
        return found[1].decode(errors="replace")
    if len(text) > PARSED_BYTES:
        return "native"
    try:
        asked = json.loads(text)
    except ValueError:
        return "native"
    route = asked.get("openai_route") if isinstance(asked, dict) else None
    return str(route)[:200] if route else "native"


def _outcome(job: Job) -> tuple[str, str]:
    """The status in words, and the sentence of an error."""
    if job.status is not Status.FAILED:
        return HTTP_STATUS.get(job.status, str(job.status)), (job.error or "")[:LONGEST_HINT]
    try:
        error = json.loads(job.error or "")
        code, message = error.get("code"), error["message"]
    except (ValueError, TypeError, KeyError, AttributeError):
        code, message = None, job.error or "the worker gave no reason"
    return str(code) if isinstance(code, int) else "500", " ".join(str(message).split())[:LONGEST_HINT]
