"""What the load balancer has seen of one request, for the log of finished requests: who served it, times, tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from worker_vllm.gateway.request_record import LONGEST_HINT, RequestRecord, Usage

Header = tuple[bytes, bytes]
KEPT_BYTES = 16_384  # the end of a response, where its usage stands; of an error, all of it
LONGEST_NAME = 200
MARK = b"data: {"  # the beginning of an event
CANCELLED, CUT_OFF = "cancelled", "cut off"


@dataclass(slots=True)
class ForwardedRequest:
    """Filled while the request is served; times are of one clock. Until it is answered, its client has left it."""

    route: str  # as asked; the record is without its query
    began: float
    id: str = ""
    status: str = CANCELLED
    worker: str = ""
    hint: str = ""
    _answer: int = 0  # the worker's status
    _assigned: float | None = None
    _first: float | None = None
    _readable: bool = False  # text that may contain a usage
    _streamed: bool = False
    _events: int = 0
    _end: bytearray = field(default_factory=bytearray)

    @property
    def kept_bytes(self) -> int:
        """How much of the response is kept."""
        return len(self._end)

    def assigned_to(self, worker_id: str, now: float) -> None:
        """A worker gets it, perhaps not the first."""
        self.worker, self._assigned = worker_id, now

    def responded(self, status: int, headers: Iterable[Header]) -> None:
        """The worker's response begins."""
        self._answer = status
        for name, value in headers:
            if name == b"content-type":
                self._streamed = value.startswith(b"text/event-stream")
                self._readable = self._streamed or value.startswith(b"application/json")
            elif name == b"x-request-id":
                self.id = value.decode("latin-1")[:LONGEST_NAME]

    def piece(self, chunk: bytes, now: float) -> None:
        """A piece of the response's body."""
        if self._first is None and self._streamed:
            self._first = now
        if not self._readable:
            return
        if self._streamed:
            self._events += (bytes(self._end[1 - len(MARK) :]) + chunk).count(MARK)
        self._end += chunk[-KEPT_BYTES:]
        del self._end[:-KEPT_BYTES]

    def complete(self) -> None:
        """The client has the worker's whole response."""
        self.status = str(self._answer)
        if self._answer >= 400:
            self.hint = _sentence(bytes(self._end))

    def answered(self, status: int, body: bytes) -> None:
        """The edge has answered itself."""
        self.status, self.hint = str(status), _sentence(body)

    def cut_off(self, why: str) -> None:
        """The response could not be completed."""
        self.status, self.hint = CUT_OFF, why[:LONGEST_HINT]

    def record(self, endpoint: str, now: float, *, offset: float) -> RequestRecord:
        """Its record; `offset` is the clock's distance from 1970."""
        usage = Usage(events=self._events)
        usage.read_text(self._end.decode("utf-8", "replace"))
        tokens = usage.generated if self._answer < 400 else None
        served_s = 0.0 if self._assigned is None else now - self._assigned
        return RequestRecord(
            number=0,
            at=now + offset,
            endpoint=endpoint,
            id=self.id,
            route=self.route.partition("?")[0][:LONGEST_NAME],
            status=self.status,
            worker=self.worker,
            wait_s=None if self._assigned is None else self._assigned - self.began,
            first_s=None if self._first is None else self._first - self.began,
            total_s=now - self.began,
            tokens_in=usage.tokens_in,
            tokens_out=tokens,
            estimated=usage.tokens_out is None and tokens is not None,
            tokens_per_s=tokens / served_s if tokens and served_s > 0 else None,
            hint=self.hint,
        )


def _sentence(body: bytes) -> str:
    """What an error's body says, empty where it is of no form that is known."""
    try:
        error = json.loads(body)["error"]
        message = error if isinstance(error, str) else error["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return " ".join(str(message).split())[:LONGEST_HINT]
