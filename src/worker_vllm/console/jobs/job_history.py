"""What happened to each job of an endpoint, with times; fed by the endpoint's runtime as it happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker_vllm.gateway.state.job import Job, Piece, Status, WebhookAttempt

KEPT_STEPS = 40  # of one job; a job that is retried without end keeps its last ones
KEPT_DELAYS = 10_000  # between two samples


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to a job; `at` on the endpoint's clock."""

    name: str
    at: float
    detail: str = ""
    tone: str = ""


@dataclass(slots=True)
class JobTrace:
    """The steps of one job, and its stream."""

    steps: deque[Step] = field(default_factory=lambda: deque(maxlen=KEPT_STEPS))
    retries: int = 0
    worker: str = ""
    pieces: int = 0
    first_piece: float | None = None
    last_piece: float | None = None
    newest: Piece | None = None


@dataclass(slots=True)
class Delays:
    """What the jobs since the last sample waited, in seconds: in the queue, and for their first piece."""

    queue: list[float] = field(default_factory=list)
    first_piece: list[float] = field(default_factory=list)


class JobHistory:
    """One endpoint's traces; `find` returns a job by its id, None when it is gone."""

    def __init__(self, find: Callable[[str], Job | None], clock: Callable[[], float]) -> None:
        self._find = find
        self._clock = clock
        self._traces: dict[str, JobTrace] = {}
        self._delays = Delays()
        self.changes = 0  # increases with every change of any job

    def trace(self, job_id: str) -> JobTrace:
        """What is known of the job; empty for a job that nothing has happened to."""
        return self._traces.get(job_id) or JobTrace()

    def take_delays(self) -> Delays:
        """The delays since the last call."""
        delays, self._delays = self._delays, Delays()
        return delays

    def retain(self, known: dict[str, Job]) -> None:
        """Forget the traces of all other jobs."""
        for job_id in self._traces.keys() - known.keys():
            del self._traces[job_id]

    def queued(self) -> None:
        """A job was submitted or queued again."""
        self.changes += 1

    def taken(self, job: Job) -> None:
        """A worker has taken the job."""
        self.changes += 1
        now = self._clock()
        trace = self._traces.setdefault(job.id, JobTrace())
        trace.worker = job.worker or ""
        trace.pieces, trace.first_piece, trace.last_piece = 0, None, None
        trace.steps.append(Step("taken", now, trace.worker))
        _keep(self._delays.queue, now - job.created)

    def changed(self, job_id: str) -> None:
        """A piece or a result arrived, or the job was queued again, or it was deleted."""
        self.changes += 1
        job = self._find(job_id)
        if job is None:
            self._traces.pop(job_id, None)
            return
        trace = self._traces.setdefault(job_id, JobTrace())
        if job.pieces and job.pieces[-1] is not trace.newest:
            self._add_piece(job, trace)
        if job.status is Status.IN_QUEUE and job.retries != trace.retries:
            lost = job.retries > trace.retries
            detail = f"worker {trace.worker} was lost" if lost else ""
            trace.steps.append(Step("queued again", self._clock(), detail, "warn"))
        trace.retries = job.retries

    def webhook_called(self, job_id: str, url: str) -> None:
        """The job's webhook is being called; only its host is kept, since a URL may hold a secret."""
        self._add_step(job_id, "webhook", urlsplit(url).hostname or "")

    def webhook_attempted(self, job_id: str, attempt: WebhookAttempt) -> None:
        """It was delivered, is tried again, or was given up."""
        if self._find(job_id) is None:
            return
        detail = f"{attempt.answer}, try {attempt.number} of {attempt.tries}"
        if attempt.delivered:
            self._add_step(job_id, "webhook delivered", detail, "good")
        elif attempt.last:
            self._add_step(job_id, "webhook given up", detail, "poor")
        elif attempt.number:
            self._add_step(job_id, "webhook failed", detail, "warn")
        else:
            self._add_step(job_id, "webhook postponed", attempt.answer, "warn")

    def _add_step(self, job_id: str, name: str, detail: str, tone: str = "") -> None:
        self.changes += 1
        self._traces.setdefault(job_id, JobTrace()).steps.append(Step(name, self._clock(), detail, tone))

    def _add_piece(self, job: Job, trace: JobTrace) -> None:
        now = self._clock()
        trace.newest = job.pieces[-1]
        trace.pieces += 1
        trace.last_piece = now
        if trace.first_piece is None:
            trace.first_piece = now
            _keep(self._delays.first_piece, now - (job.started or job.created))


def _keep(delays: list[float], delay_s: float) -> None:
    if len(delays) < KEPT_DELAYS:
        delays.append(delay_s)
