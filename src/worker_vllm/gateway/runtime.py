"""Runs one endpoint: performs the effects of its pure state, sets timers and wakes held requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.state.effects import CallWebhook, Effect, JobChanged, StopJob, WorkQueued
from worker_vllm.gateway.state.endpoint import Endpoint
from worker_vllm.gateway.state.job import Job, WebhookAttempt
from worker_vllm.gateway.storage.journal import Journal
from worker_vllm.gateway.waits import NamedEvents
from worker_vllm.gateway.webhooks import Webhooks


@dataclass(eq=False, slots=True)
class TakeRequest:
    """A worker's held request for jobs; `jobs` stays None until it is answered."""

    worker_id: str
    count: int
    jobs: list[Job] | None = None

    @property
    def signal(self) -> str:
        """The name of the event that announces `jobs`."""
        return f"take {self.worker_id}"


class RuntimeObserver(Protocol):
    """Receives the events of jobs, each after it has happened."""

    def queued(self) -> None:
        """A job was submitted or queued again."""

    def taken(self, job: Job) -> None:
        """A worker has taken the job."""

    def changed(self, job_id: str) -> None:
        """A piece, a progress or a result arrived, or the job was queued again or deleted."""

    def webhook_called(self, job_id: str, url: str) -> None:
        """The webhook of an ended job is being called."""

    def webhook_attempted(self, job_id: str, attempt: WebhookAttempt) -> None:
        """It was tried: delivered, to be tried again, or given up."""


class EndpointRuntime:
    """One endpoint's state, held requests and timer; owned by the Gateway, used from one event loop."""

    def __init__(
        self, options: GatewayOptions, clock: Callable[[], float], webhooks: Webhooks, journal: Journal | None = None
    ) -> None:
        self.state = Endpoint(options)
        self.signals = NamedEvents()
        self.clock = clock
        self.closing = False
        self.observers: list[RuntimeObserver] = []
        self._webhooks = webhooks
        self._journal = journal
        self._take_requests: dict[TakeRequest, None] = {}  # in the order of their arrival
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def perform(self, effects: Iterable[Effect]) -> None:
        """Perform the effects of a state change, then set the timer for the next deadline."""
        for effect in effects:
            match effect:
                case JobChanged(job_id):
                    self.signals.wake(job_id)
                    for observer in self.observers:
                        observer.changed(job_id)
                case WorkQueued():
                    for observer in self.observers:
                        observer.queued()
                    self._dispatch_jobs()
                case StopJob(worker_id, job_id):
                    self.state.fleet.stop(worker_id, job_id)
                    self.signals.wake(f"stop {worker_id}")
                case CallWebhook(url, payload):
                    for observer in self.observers:
                        observer.webhook_called(payload["id"], url)
                    self._webhooks.send(url, payload, self._on_webhook)
        self._set_timer()
        if self._journal is not None:
            self._journal.notify()

    async def committed(self) -> None:
        """Return when every change until now is stored, where a file is kept. Raises CannotStore."""
        if self._journal is not None:
            await self._journal.committed()

    def take(self, take_request: TakeRequest) -> None:
        """Register a request for jobs; its `jobs` are set now, or as soon as there are any."""
        self._take_requests[take_request] = None
        self.state.fleet.touch(take_request.worker_id, self.clock())
        self._dispatch_jobs()
        self._set_timer()
        self.signals.wake("workers")

    def withdraw(self, take_request: TakeRequest) -> None:
        """Remove a request for jobs; called when it is answered or its wait time is over."""
        self._take_requests.pop(take_request, None)

    def put_back(self, take_request: TakeRequest) -> None:
        """Queue the jobs of an aborted request again; called when the worker disconnected before the answer."""
        self.withdraw(take_request)
        for job in reversed(take_request.jobs or []):
            self.perform(self.state.store.put_back(job))

    def retire(self, worker_id: str) -> None:
        """Give this worker no more jobs, and answer its request for some; called before it is asked to end."""
        self.state.retire(worker_id, self.clock())
        self._release_worker(worker_id)
        self.signals.wake("workers")

    def lose(self, worker_id: str) -> None:
        """Remove a worker whose process has exited, and queue its jobs again."""
        self._release_worker(worker_id)
        self.perform(self.state.lose(worker_id, self.clock()))

    def close(self) -> None:
        """Release every held request and stop dispatching jobs."""
        self.closing = True
        if self._timer is not None:
            self._timer.cancel()
        for take_request in list(self._take_requests):
            self._resolve(take_request, [])
        self.signals.wake_all()

    def _on_webhook(self, job_id: str, attempt: WebhookAttempt) -> None:
        self.state.webhook_attempted(job_id, attempt)
        for observer in self.observers:
            observer.webhook_attempted(job_id, attempt)
        if self._journal is not None:
            self._journal.notify()

    def _dispatch_jobs(self) -> None:
        for take_request in list(self._take_requests):
            if not self.state.store.queued:
                return
            jobs = self.state.take(take_request.worker_id, take_request.count, self.clock())
            for observer in self.observers:
                for job in jobs:
                    observer.taken(job)
            if jobs:
                self._resolve(take_request, jobs)
                if self._journal is not None:
                    self._journal.notify()

    def _resolve(self, take_request: TakeRequest, jobs: list[Job]) -> None:
        del self._take_requests[take_request]
        take_request.jobs = jobs
        self.signals.wake(take_request.signal)

    def _release_worker(self, worker_id: str) -> None:
        for take_request in [
            take_request for take_request in self._take_requests if take_request.worker_id == worker_id
        ]:
            self._resolve(take_request, [])

    def _set_timer(self) -> None:
        due = self.state.next_deadline()
        if due is None or self.closing:
            return
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self.clock()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        known = {worker.id for worker in self.state.fleet.workers()}
        effects = self.state.tick(self.clock())
        for worker_id in known - {worker.id for worker in self.state.fleet.workers()}:
            self._release_worker(worker_id)
        self.perform(effects)
        self.signals.wake("workers")
