"""The state of one endpoint: how pings, losses and results of workers change its jobs. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.state.effects import CallWebhook, Effect, StopJob
from worker_vllm.gateway.state.job import Job, JobOutcome, Status, WebhookAttempt
from worker_vllm.gateway.state.job_store import JobStore
from worker_vllm.gateway.state.workers import UnhealthyReport, Workers


@dataclass(frozen=True, slots=True)
class Ping:
    """A worker's heartbeat: the ids of its jobs, and whether it is healthy; if not, which check failed and why."""

    worker_id: str
    job_ids: Collection[str]
    healthy: bool = True
    check: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """The ids of jobs and workers that have changed since they were last taken."""

    jobs: list[str]
    workers: list[str]


class Endpoint:
    """Operations of workers on jobs; operations of clients are JobStore's."""

    def __init__(self, options: GatewayOptions) -> None:
        self._unlisted_pings = options.fleet.unlisted_pings
        self.store = JobStore(options.jobs, options.limits)
        self.fleet = Workers(options.fleet)

    @property
    def has_changes(self) -> bool:
        """Whether anything is to be stored; never where nothing is stored at all."""
        return bool(self.store.changed or self.fleet.changed)

    def take_changes(self) -> Changes:
        """Return the changes, and forget them."""
        changes = Changes(list(self.store.changed or ()), list(self.fleet.changed or ()))
        self.store.changed, self.fleet.changed = {}, {}
        return changes

    def mark_changed(self, changes: Changes) -> None:
        """Count these as changed again."""
        self.store.changed = dict.fromkeys(changes.jobs) | (self.store.changed or {})
        self.fleet.changed = dict.fromkeys(changes.workers) | (self.fleet.changed or {})

    def next_deadline(self) -> float | None:
        """When `tick` must be called next, None for never."""
        times = [t for t in (self.store.deadlines.next(), self.fleet.deadlines.next()) if t is not None]
        return min(times, default=None)

    def tick(self, now: float) -> list[Effect]:
        """Apply timeouts, expiries and worker losses that are due."""
        effects = self.store.expire(now)
        for worker_id in self.fleet.lost(now):
            effects += self.lose(worker_id, now)
        return effects

    def take(self, worker_id: str, count: int, now: float) -> list[Job]:
        """Assign queued jobs to a worker; none while it is unhealthy or retired."""
        worker = self.fleet.touch(worker_id, now)
        if not worker.may_take:
            return []
        jobs = self.store.start(worker_id, count, now)
        worker.stops.difference_update(job.id for job in jobs)
        worker.last_job = now if jobs else worker.last_job
        return jobs

    def ping(self, ping: Ping, now: float) -> list[Effect]:
        """Requeue jobs that the worker no longer lists, and stop listed jobs whose result is no longer needed."""
        self.fleet.ping(ping.worker_id, ping.healthy, now)
        if not ping.healthy:
            self.fleet.reports.append(UnhealthyReport(ping.worker_id, ping.check, ping.reason))
        listed = set(ping.job_ids)
        effects: list[Effect] = []
        for job in self.store.running_jobs.held_by(ping.worker_id):
            job.unlisted = 0 if job.id in listed else job.unlisted + 1
            listed.discard(job.id)
            if job.unlisted >= self._unlisted_pings:
                effects += self.store.requeue(job, now)
        return effects + [StopJob(ping.worker_id, job_id) for job_id in sorted(listed) if self._is_obsolete(job_id)]

    def finish(self, worker_id: str, job_id: str, result: JobOutcome, now: float) -> list[Effect]:
        """Apply a worker's result."""
        self.fleet.touch(worker_id, now).last_job = now
        return self.store.finish(job_id, worker_id, result, now)

    def retire(self, worker_id: str, now: float) -> None:
        """Give this worker no more jobs; called when it asked to be replaced."""
        self.fleet.touch(worker_id, now).retired = True

    def lose(self, worker_id: str, now: float) -> list[Effect]:
        """Remove a lost worker and requeue its jobs."""
        self.fleet.forget(worker_id)
        effects: list[Effect] = []
        for job in self.store.running_jobs.held_by(worker_id):
            effects += self.store.requeue(job, now)
        return effects

    def webhook_attempted(self, job_id: str, attempt: WebhookAttempt) -> None:
        """The webhook of this job was tried; delivered or given up, it is not due any more."""
        job = self.store.find(job_id)
        if job is None or not job.webhook_due:
            return
        job.webhook_attempt = attempt
        if attempt.last:
            job.webhook_due = False
            self.store.mark(job_id)

    def webhooks_due(self) -> list[Effect]:
        """The webhooks that an earlier process did not deliver."""
        due = (job for job in self.store.jobs() if job.webhook_due)
        return [CallWebhook(job.submission.webhook, job.to_client()) for job in due if job.submission.webhook]

    def health(self) -> dict[str, Any]:
        """RunPod's /health payload, and what workers have reported of their faults, oldest first."""
        store = self.store
        jobs = {
            "completed": store.completed,
            "failed": store.failed,
            "inProgress": store.running,
            "inQueue": store.queued,
            "retried": store.retried,
        }
        reports = [asdict(report) for report in self.fleet.reports]
        return {
            "jobs": jobs,
            "workers": self.fleet.counts(store.running_jobs.busy()),
            **({"unhealthy": reports} if reports else {}),
        }

    def _is_obsolete(self, job_id: str) -> bool:
        job = self.store.find(job_id)
        return job is None or job.status is not Status.COMPLETED
