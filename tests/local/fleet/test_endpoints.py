"""What a fleet sees of an endpoint of jobs: load, readiness, idleness; and what drains and freezes do to its jobs."""

from __future__ import annotations

from worker_vllm.gateway.api.submission import read_submission
from worker_vllm.gateway.fleet.attached import attached_views
from worker_vllm.gateway.fleet.fleet_control import WorkerState
from worker_vllm.gateway.fleet.scaling import Load
from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.options import GatewayOptions, JobPolicy
from worker_vllm.gateway.runtime import EndpointRuntime, TakeRequest
from worker_vllm.gateway.state.job import JobOutcome
from worker_vllm.local.fleet.endpoints import QueueEndpoint


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Queue:
    """An endpoint as its fleet and its workers see it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.gateway = Gateway(GatewayOptions(), clock=self.clock)
        self.runtime: EndpointRuntime = self.gateway.endpoint("local")
        self.seen = QueueEndpoint("local", self.runtime, "http://127.0.0.1:1", "")
        self._count = 0

    def submit(self, **members: object) -> str:
        """Queue a job with these members beside its input."""
        self._count += 1
        submission = read_submission({"input": 1, **members}, JobPolicy(), sync=False)
        self.runtime.perform(self.runtime.state.store.submit(f"job{self._count}", submission, self.clock()))
        return f"job{self._count}"

    def take(self, worker_id: str, count: int = 1) -> TakeRequest:
        """A worker's request for jobs, held until there are some."""
        request = TakeRequest(worker_id, count)
        self.runtime.take(request)
        return request

    def finish(self, worker_id: str, job_id: str) -> None:
        """A worker's result."""
        self.runtime.perform(self.runtime.state.finish(worker_id, job_id, JobOutcome(output=1), self.clock()))


async def test_load_and_idleness_follow_the_jobs() -> None:
    """Ready from the first request; idle from there on, later from the end of the last job."""
    queue = Queue()
    seen = [(queue.seen.ready("w"), queue.seen.idle_since("w"))]
    queue.seen.started("w")
    seen.append((queue.seen.ready("w"), queue.seen.idle_since("w")))
    job = queue.submit()
    queue.clock.now = 107.0
    assert queue.seen.load() == Load(1, 0, 7.0)
    queue.take("w")
    assert (queue.seen.load(), queue.seen.jobs("w")) == (Load(0, 1, 0.0), 1)
    seen.append((queue.seen.ready("w"), queue.seen.idle_since("w")))
    queue.clock.now = 109.0
    queue.finish("w", job)
    seen.append((queue.seen.ready("w"), queue.seen.idle_since("w")))
    assert seen == [(False, None), (False, None), (True, None), (True, 109.0)]


async def test_a_worker_without_a_job_is_idle_from_its_first_request() -> None:
    queue = Queue()
    queue.seen.started("w")
    queue.clock.now = 103.0
    queue.take("w")
    queue.clock.now = 120.0
    queue.take("w")
    assert queue.seen.idle_since("w") == 103.0


async def test_a_draining_worker_gets_no_more_jobs() -> None:
    """Its open request is answered with none, and a later one gets none; what it has it keeps."""
    queue = Queue()
    job = queue.submit()
    queue.take("w")
    held = queue.take("w")
    queue.seen.drain("w")
    queue.submit()
    assert (held.jobs, queue.take("w").jobs) == ([], None)
    await queue.seen.drained("w")
    assert queue.seen.jobs("w") == 1
    queue.finish("w", job)
    assert queue.runtime.state.store.get(job).retries == 0


async def test_a_frozen_worker_has_no_jobs_and_gets_none() -> None:
    """They wait again for others; its request must not swallow the next."""
    queue = Queue()
    job = queue.submit()
    queue.take("w")
    held = queue.take("w")
    queue.seen.freeze("w")
    assert (held.jobs, queue.seen.jobs("w"), queue.seen.ready("w")) == ([], 0, False)
    assert [one.id for one in queue.take("other").jobs or []] == [job]
    queue.seen.thaw("w")
    assert not queue.seen.ready("w")
    queue.take("w")
    assert queue.seen.ready("w")


async def test_a_new_process_does_not_inherit_the_jobs_of_an_older_one_of_its_name() -> None:
    """As after a restart of the gateway with stored jobs."""
    queue = Queue()
    job = queue.submit()
    queue.take("w")
    queue.seen.started("w")
    assert (queue.seen.ready("w"), queue.seen.load().waiting) == (False, 1)
    assert queue.runtime.state.store.get(job).retries == 1


async def test_workers_that_attached_themselves_are_shown() -> None:
    """With the jobs that they hold."""
    queue = Queue()
    queue.submit()
    queue.take("busy")
    queue.take("idle")
    queue.runtime.state.fleet.expect("new")
    queue.take("leaving")
    queue.runtime.retire("leaving")
    found = {(view.id, view.endpoint, view.state, view.jobs) for view in attached_views(queue.gateway.states())}
    assert found == {
        ("busy", "local", WorkerState.RUNNING, 1),
        ("idle", "local", WorkerState.IDLE, 0),
        ("new", "local", WorkerState.INITIALIZING, 0),
        ("leaving", "local", WorkerState.DRAINING, 0),
    }


async def test_jobs_of_low_priority_wait_without_a_scale_up() -> None:
    """The others are the load; a running job is load whatever its priority."""
    queue = Queue()
    queue.submit(policy={"lowPriority": True})
    queue.clock.now = 102.0
    assert queue.seen.load() == Load(0, 0, 0.0)
    queue.submit(policy={"lowPriority": False}, s3Config={"bucketName": '"lowPriority": true'})
    queue.submit(policy={"ttl": 60_000})
    queue.clock.now = 105.0
    assert queue.seen.load() == Load(2, 0, 3.0)
    queue.take("w")
    assert queue.seen.load() == Load(2, 1, 3.0)
