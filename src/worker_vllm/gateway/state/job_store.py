"""The jobs of one endpoint and all changes of their state; pure: clock and ids are arguments.

A method changes the state and returns the effects to perform. Times are seconds of the caller's clock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

from worker_vllm.errors import NotFound, RequestError
from worker_vllm.gateway.options import GatewayLimits, JobPolicy
from worker_vllm.gateway.state.deadlines import Deadlines
from worker_vllm.gateway.state.effects import CallWebhook, Effect, JobChanged, StopJob, WorkQueued
from worker_vllm.gateway.state.held_memory import HeldMemory
from worker_vllm.gateway.state.job import ABSENT, RETRYABLE, Job, JobOutcome, Piece, Status, Submission
from worker_vllm.gateway.state.running_jobs import RunningJobs


class JobStore:
    """IN_QUEUE → IN_PROGRESS → one terminal state, with requeues and retries as the only ways back."""

    def __init__(self, policy: JobPolicy, limits: GatewayLimits) -> None:
        self._policy = policy
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.running_jobs = RunningJobs()
        self.deadlines = Deadlines()
        self._memory = HeldMemory()
        self.changed: dict[str, None] | None = None  # ids to be stored, None where nothing is
        self.completed = self.failed = self.retried = 0

    @property
    def held_bytes(self) -> int:
        """Memory of all jobs in bytes of JSON text."""
        return self._memory.bytes

    @property
    def queued(self) -> int:
        """How many jobs wait for a worker."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many jobs are assigned to workers."""
        return len(self.running_jobs)

    def waiting_since(self) -> list[float]:
        """When each waiting job was submitted, in their order; without those of low priority."""
        return [job.created for job_id in self._queue if not (job := self._jobs[job_id]).submission.low_priority]

    def get(self, job_id: str) -> Job:
        """The job. Raises NotFound for an unknown or expired id."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f'job "{job_id}": not known here; it never existed or its result has expired')
        return job

    def find(self, job_id: str) -> Job | None:
        """The job, None for an unknown id."""
        return self._jobs.get(job_id)

    def held_by(self, worker_id: str) -> list[Job]:
        """The unfinished jobs of this worker."""
        return self.running_jobs.held_by(worker_id)

    def jobs(self) -> list[Job]:
        """Every job."""
        return list(self._jobs.values())

    def restore(self, job: Job) -> None:
        """Add a job that an earlier process has stored; those that wait are restored in their order."""
        self._jobs[job.id] = job
        self._memory.add(job)
        if job.terminal:
            self._ended[job.id] = None
        elif job.worker is None:
            self._queue[job.id] = None
        else:
            self.running_jobs.add(job.worker, job)
        self._arm(job)

    def submit(self, job_id: str, submission: Submission, now: float) -> list[Effect]:
        """Queue a new job. Raises RequestError 429 when the queue or the memory limit is reached."""
        if len(self._queue) >= self._limits.queued_jobs:
            raise RequestError(f"the queue is full: {len(self._queue)} jobs wait; try again later", status=429)
        self._make_room(submission.size)
        job = Job(id=job_id, submission=submission, created=now)
        self._jobs[job_id] = job
        self._queue[job_id] = None
        self._memory.add(job)
        self._arm(job)
        return [WorkQueued()]

    def start(self, worker_id: str, count: int, now: float) -> list[Job]:
        """Assign up to `count` queued jobs to this worker, oldest first."""
        jobs: list[Job] = []
        while self._queue and len(jobs) < count:
            job = self._jobs[self._queue.popitem(last=False)[0]]
            job.status, job.worker, job.started, job.unlisted = Status.IN_PROGRESS, worker_id, now, 0
            self.running_jobs.add(worker_id, job)
            self._arm(job)
            jobs.append(job)
        return jobs

    def add_piece(self, job_id: str, worker_id: str, piece: Piece) -> list[Effect]:
        """Append a streamed value; ignored unless it comes from the job's current worker."""
        job = self._jobs.get(job_id)
        if job is None or job.status is not Status.IN_PROGRESS or job.worker != worker_id:
            return []
        self._memory.add_piece(job, piece)
        while not job.followed and job.unread_bytes > self._limits.unread_bytes and len(job.pieces) > 1:
            self._memory.forget_piece(job)
            job.dropped_pieces += 1
        return [JobChanged(job_id)]

    def read_pieces(self, job: Job) -> list[Any]:
        """Remove and return the unread pieces for a client."""
        outputs = [piece.output for piece in job.pieces]
        if outputs:
            if not job.delivered:
                self.mark(job.id)
            job.delivered = True
            self._memory.forget_pieces(job)
        return outputs

    def has_room(self, job_id: str) -> bool:
        """Whether another piece fits without loss; true for a stream without a reader, which drops pieces."""
        job = self._jobs.get(job_id)
        return job is None or job.terminal or not job.followed or job.unread_bytes < self._limits.unread_bytes

    def progress(self, job_id: str, worker_id: str, update: Piece) -> list[Effect]:
        """Store a worker's progress; the status shows it until the job ends."""
        job = self._jobs.get(job_id)
        if job is None or job.status is not Status.IN_PROGRESS or job.worker != worker_id:
            return []
        job.output = update.output
        self._memory.hold_result(job, update.size)
        return [JobChanged(job_id)]

    def accepts_result(self, job_id: str, worker_id: str) -> bool:
        """Whether a result from this worker still counts.

        The current worker's does. After a requeue, a former worker's does too unless a client has read a piece of the
        stream: a worker that was counted as lost may still deliver its result.
        """
        job = self._jobs.get(job_id)
        if job is None or job.terminal:
            return False
        return job.worker == worker_id or (job.retries > 0 and not job.delivered)

    def finish(self, job_id: str, worker_id: str, result: JobOutcome, now: float) -> list[Effect]:
        """End the job with a result; a result that no longer counts changes nothing."""
        if not self.accepts_result(job_id, worker_id):
            return []
        job = self._jobs[job_id]
        effects: list[Effect] = []
        if job.worker != worker_id:
            if job.worker is not None:
                effects.append(StopJob(job.worker, job_id))
            self._memory.forget_pieces(job)
        self._release(job)
        job.worker = worker_id
        job.started = now if job.started is None else job.started
        job.output, job.error = result.output, result.error
        self._memory.hold_result(job, result.size)
        return effects + self._end(job, Status.COMPLETED if result.error is None else Status.FAILED, now)

    def set_ttl(self, job_id: str, ttl_s: float) -> None:
        """Set the job's time to live, counted from its submission. Raises NotFound."""
        job = self.get(job_id)
        job.submission = replace(job.submission, ttl_s=ttl_s)
        self._arm(job)

    def cancel(self, job_id: str, now: float) -> list[Effect]:
        """Cancel the job; an ended job keeps its state. Raises NotFound."""
        job = self.get(job_id)
        if job.terminal:
            return []
        effects = self._stop(job)
        self._release(job)
        return effects + self._end(job, Status.CANCELLED, now)

    def retry(self, job_id: str, now: float) -> list[Effect]:
        """Queue a FAILED or TIMED_OUT job again without its old output. Raises NotFound, RequestError."""
        job = self.get(job_id)
        if job.status not in RETRYABLE:
            raise RequestError(f'job "{job_id}" is {job.status}: only FAILED and TIMED_OUT jobs can be retried')
        self._ended.pop(job_id, None)
        job.retries, job.delivered, job.dropped_pieces = 0, False, 0
        self._enqueue(job)
        self.retried += 1
        return [WorkQueued(), JobChanged(job_id)]

    def purge(self, now: float) -> tuple[int, list[Effect]]:
        """Cancel all queued jobs; returns their number and the effects."""
        effects: list[Effect] = []
        for job_id in (waiting := list(self._queue)):
            self._queue.pop(job_id)
            effects += self._end(self._jobs[job_id], Status.CANCELLED, now)
        return len(waiting), effects

    def put_back(self, job: Job) -> list[Effect]:
        """Queue the job first again; called when the worker never received it, so no retry is counted."""
        if job.status is not Status.IN_PROGRESS:
            return []
        self._release(job)
        self._enqueue(job)
        self._queue.move_to_end(job.id, last=False)
        return [WorkQueued()]

    def requeue(self, job: Job, now: float) -> list[Effect]:
        """Queue a lost worker's job again; fail it when a client has read a piece or the retries are used up."""
        worker_id = job.worker
        self._release(job)
        if job.delivered or job.retries >= self._policy.max_retries:
            why = "after a part of its answer was delivered" if job.delivered else f"{job.retries + 1} times"
            job.error = f'worker "{worker_id}" was lost {why}; the job is not run again'
            return self._end(job, Status.FAILED, now)
        job.retries += 1
        self.retried += 1
        self._enqueue(job)
        self._queue.move_to_end(job.id, last=False)
        return [WorkQueued(), JobChanged(job.id)]

    def expire(self, now: float) -> list[Effect]:
        """End jobs over their execution timeout and delete jobs over their time to live."""
        effects: list[Effect] = []
        for job_id in self.deadlines.due(now):
            job = self._jobs[job_id]
            if job.terminal or now >= job.created + job.submission.ttl_s:
                effects += [*self._stop(job), JobChanged(job_id)]
                self._delete(job)
            else:
                effects += self._stop(job)
                self._release(job)
                job.error = (
                    f"the job ran longer than its execution timeout of {job.submission.execution_timeout_s:g} s"
                )
                effects += self._end(job, Status.FAILED if self._policy.timeout_fails else Status.TIMED_OUT, now)
        return effects

    def _end(self, job: Job, status: Status, now: float) -> list[Effect]:
        job.status, job.ended = status, now
        if job.started is None and status is not Status.COMPLETED:
            job.output = ABSENT
        self._ended[job.id] = None
        self.completed += status is Status.COMPLETED
        self.failed += status in RETRYABLE
        self._arm(job)
        effects: list[Effect] = [JobChanged(job.id)]
        if job.submission.webhook:
            job.webhook_due = True
            effects.append(CallWebhook(job.submission.webhook, job.to_client()))
        return effects

    def _enqueue(self, job: Job) -> None:
        self._memory.forget_pieces(job)
        job.status, job.worker, job.started, job.ended = Status.IN_QUEUE, None, None, None
        job.output, job.error, job.unlisted, job.webhook_due, job.webhook_attempt = ABSENT, None, 0, False, None
        self._memory.hold_result(job, 0)
        self._queue[job.id] = None
        self._arm(job)

    def _release(self, job: Job) -> None:
        self._queue.pop(job.id, None)
        self.running_jobs.remove(job)

    def _stop(self, job: Job) -> list[Effect]:
        if job.status is Status.IN_PROGRESS and job.worker is not None:
            return [StopJob(job.worker, job.id)]
        return []

    def _delete(self, job: Job) -> None:
        self._release(job)
        self._ended.pop(job.id, None)
        self.deadlines.remove(job.id)
        self._memory.remove(job)
        self.mark(job.id)
        del self._jobs[job.id]

    def _make_room(self, size: int) -> None:
        while self.held_bytes + size > self._limits.held_bytes and self._ended:
            self._delete(self._jobs[next(iter(self._ended))])
        if self.held_bytes + size > self._limits.held_bytes:
            raise RequestError(f"the gateway holds {self.held_bytes} bytes of jobs; try again later", status=429)

    def mark(self, job_id: str) -> None:
        """The job has changed."""
        if self.changed is not None:
            self.changed[job_id] = None

    def _arm(self, job: Job) -> None:
        """Set the job's deadline; called at every change of its state."""
        self.mark(job.id)
        self.deadlines.set(job.id, job.due(self._policy))
