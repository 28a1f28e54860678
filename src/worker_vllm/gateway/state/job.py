"""A job: its state, its timestamps and its payload for clients."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from worker_vllm.gateway.options import JobPolicy


class Status(StrEnum):
    """RunPod's job states."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


TERMINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT})
RETRYABLE: Final = frozenset({Status.FAILED, Status.TIMED_OUT})


class Absent:
    """The type of ABSENT, a missing value, as distinct from JSON null."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Submission:
    """A client's request. `input` is JSON text; `forwarded` are the members that the worker gets beside it.

    Those are JSON text too, each with a comma before it: `, "policy": {…}, "s3Config": {…}`.
    """

    input: bytes
    sync: bool
    execution_timeout_s: float
    ttl_s: float
    webhook: str | None = None
    forwarded: bytes = b""

    @property
    def size(self) -> int:
        """Memory use in bytes of JSON text."""
        return len(self.input) + len(self.forwarded)

    @property
    def low_priority(self) -> bool:
        """Whether its policy says that no worker is to be started for it."""
        if b'"lowPriority"' not in self.forwarded:
            return False
        policy = json.loads(b"{%b}" % self.forwarded.removeprefix(b", ")).get("policy", {})
        return bool(policy.get("lowPriority"))


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """A worker's final report: an output, or an error when `error` is not None."""

    output: Any = ABSENT
    error: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """One value that a worker streamed; `size` is its length on the wire."""

    output: Any
    size: int


@dataclass(frozen=True, slots=True)
class WebhookAttempt:
    """A try to deliver a job's webhook, numbered from 1; `answer` is the status, or why there is none.

    Number 0: it was not tried, since too many are pending; the next process will.
    """

    number: int
    tries: int
    answer: str

    @property
    def delivered(self) -> bool:
        """Whether the client has it."""
        return self.answer == "200"

    @property
    def last(self) -> bool:
        """Whether no other try follows."""
        return self.delivered or self.number == self.tries


@dataclass(slots=True)
class Job:
    """One job; owned and changed by JobStore, except for `followed`. Times are seconds of the store's clock."""

    id: str
    submission: Submission
    created: float
    status: Status = Status.IN_QUEUE
    worker: str | None = None
    started: float | None = None
    ended: float | None = None
    retries: int = 0
    output: Any = ABSENT
    error: str | None = None
    pieces: deque[Piece] = field(default_factory=deque)
    unread_bytes: int = 0
    result_bytes: int = 0  # of the output and the error, or of the last progress
    delivered: bool = False  # a client has read a piece of this stream
    followed: bool = False  # a client reads this stream now
    dropped_pieces: int = 0  # unread pieces that were dropped at the limit
    webhook_due: bool = False  # its end is still to be posted
    webhook_attempt: WebhookAttempt | None = None  # the last one of this process
    unlisted: int = 0  # pings in a row in which the worker did not name this job

    @property
    def terminal(self) -> bool:
        """Whether the job has ended; only a retry changes that."""
        return self.status in TERMINAL

    @property
    def held_bytes(self) -> int:
        """Memory use of this job in bytes of JSON text."""
        return self.submission.size + self.unread_bytes + self.result_bytes

    @property
    def delay_ms(self) -> int | None:
        """How long it waited for the worker that has it, None while it waits."""
        return None if self.started is None else round((self.started - self.created) * 1000)

    def due(self, policy: JobPolicy) -> float:
        """When the job is to be ended or deleted: execution timeout, time to live, retention."""
        due = self.created + self.submission.ttl_s
        if self.ended is not None:
            return min(due, self.ended + (policy.keep_sync_s if self.submission.sync else policy.keep_async_s))
        if self.started is not None:
            return min(due, self.started + self.submission.execution_timeout_s)
        return due

    def to_client(self) -> dict[str, Any]:
        """The status object; contains no secret of the submission."""
        payload: dict[str, Any] = {"id": self.id, "status": self.status.value}
        if self.started is not None:
            payload["delayTime"] = self.delay_ms
            payload["workerId"] = self.worker
        if self.started is not None and self.ended is not None:
            payload["executionTime"] = round((self.ended - self.started) * 1000)
        if self.output is not ABSENT:
            payload["output"] = self.output
        if self.error is not None:
            payload["error"] = self.error
        if self.retries:
            payload["retries"] = self.retries
        return payload
