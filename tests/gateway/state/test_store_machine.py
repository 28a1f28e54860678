"""Any order of events: no job is ever lost, doubled or unaccounted for."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import GatewayLimits, GatewayOptions, JobPolicy
from worker_vllm.gateway.state.endpoint import Endpoint, Ping
from worker_vllm.gateway.state.job import TERMINAL, Job, JobOutcome, Piece, Status, Submission

WORKERS = st.sampled_from(["w1", "w2", "w3"])
OPTIONS = GatewayOptions(
    limits=GatewayLimits(queued_jobs=5, held_bytes=500, unread_bytes=20),
    jobs=JobPolicy(execution_timeout_s=30, ttl_s=200, keep_async_s=50, keep_sync_s=10, max_retries=2),
)


class EndpointMachine(RuleBasedStateMachine):
    """Clients, workers and time do as they like."""

    jobs = Bundle("jobs")

    @initialize()
    def set_up(self) -> None:
        self.endpoint = Endpoint(OPTIONS)
        self.store = self.endpoint.store
        self.now = 0.0
        self.count = 0
        self.known: set[str] = set()
        self.ended: dict[str, Status] = {}
        self.delivered: dict[str, list[Any]] = {}

    @rule(target=jobs, size=st.integers(2, 120), sync=st.booleans())
    def submit(self, size: int, sync: bool) -> str:
        self.count += 1
        job_id = f"j{self.count}"
        asked = Submission(b"x" * size, sync, OPTIONS.jobs.execution_timeout_s, OPTIONS.jobs.ttl_s)
        with contextlib.suppress(RequestError):  # full
            self.store.submit(job_id, asked, self.now)
            self.known.add(job_id)
        return job_id

    @rule(worker=WORKERS, count=st.integers(1, 4))
    def take(self, worker: str, count: int) -> None:
        given = self.endpoint.take(worker, count, self.now)
        assert len({job.id for job in given}) == len(given) <= count
        assert all((job.status, job.worker) == (Status.IN_PROGRESS, worker) for job in given)

    @rule(job=jobs, worker=WORKERS, size=st.integers(1, 15))
    def stream(self, job: str, worker: str, size: int) -> None:
        self.store.add_piece(job, worker, Piece((job, worker), size))

    @rule(job=jobs)
    def read(self, job: str) -> None:
        found = self.store.find(job)
        if found is not None:
            pieces = self.delivered.setdefault(job, [])
            pieces += self.store.read_pieces(found)
            if found.retries and pieces:
                assert len({worker for _, worker in pieces}) == 1, "a client read two attempts of one stream"

    @rule(job=jobs, worker=WORKERS, fails=st.booleans(), size=st.integers(0, 200))
    def finish(self, job: str, worker: str, fails: bool, size: int) -> None:
        counts = self.store.accepts_result(job, worker)
        result = JobOutcome(error="no", size=size) if fails else JobOutcome((job, worker), size=size)
        effects = self.endpoint.finish(worker, job, result, self.now)
        assert bool(effects) == counts

    @rule(worker=WORKERS, forgets=st.booleans())
    def ping(self, worker: str, forgets: bool) -> None:
        listed = [] if forgets else [job.id for job in self.store.running_jobs.held_by(worker)]
        self.endpoint.ping(Ping(worker, listed), self.now)

    @rule(worker=WORKERS)
    def lose(self, worker: str) -> None:
        self.endpoint.lose(worker, self.now)
        assert self.store.running_jobs.held_by(worker) == []

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        if self.store.find(job) is not None:
            self.store.cancel(job, self.now)
            assert self.store.get(job).terminal

    @rule(job=jobs)
    def retry(self, job: str) -> None:
        found = self.store.find(job)
        if found is not None and found.status in (Status.FAILED, Status.TIMED_OUT):
            self.store.retry(job, self.now)
            self.ended.pop(job, None)
            self.delivered.pop(job, None)

    @rule()
    def purge(self) -> None:
        self.store.purge(self.now)
        assert self.store.queued == 0

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.endpoint.tick(self.now)
        due = self.endpoint.next_deadline()
        assert due is None or due > self.now

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        found = self._alive()
        states = [job.status for job in found]
        assert self.store.queued == states.count(Status.IN_QUEUE)
        assert self.store.running == states.count(Status.IN_PROGRESS)
        held = [
            job.id for worker in self.store.running_jobs.busy() for job in self.store.running_jobs.held_by(worker)
        ]
        assert sorted(held) == sorted(job.id for job in found if job.status is Status.IN_PROGRESS)

    @invariant()
    def an_end_is_final(self) -> None:
        for job in self._alive():
            assert self.ended.get(job.id, job.status) is job.status
            if job.status in TERMINAL:
                self.ended[job.id] = job.status

    @invariant()
    def memory_is_accounted_for(self) -> None:
        assert self.store.held_bytes == sum(job.held_bytes for job in self._alive())

    def _alive(self) -> list[Job]:
        return [job for job_id in sorted(self.known) if (job := self.store.find(job_id)) is not None]


TestEndpoint = EndpointMachine.TestCase
TestEndpoint.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
