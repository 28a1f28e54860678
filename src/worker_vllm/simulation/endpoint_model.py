"""An endpoint over simulated time: arrivals queue up, workers take them, the platform adds and ends workers."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from math import inf, nan

from worker_vllm.gateway.fleet.scaling import Load, Scaler, ScalingPolicy
from worker_vllm.simulation.arrivals import Arrival
from worker_vllm.simulation.engine_model import EngineModel, Work
from worker_vllm.simulation.service_curve import ServiceCurve
from worker_vllm.simulation.worker_model import Limit, WorkerModel


@dataclass(frozen=True, slots=True)
class SimulatedEndpoint:
    """What is simulated: the gateway's own scaling policy; the speed, job limit and cold start of each worker.

    The platform decides every `decision_s` seconds.
    """

    policy: ScalingPolicy
    curve: ServiceCurve
    job_limit: Limit
    cold_start_s: float = 60.0
    decision_s: float = 1.0


@dataclass(slots=True)
class JobTimes:
    """One value for each job, in order of arrival, in seconds; nan where a job never came so far."""

    arrived: array[float]
    taken: array[float]
    first_token: array[float]
    done: array[float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The jobs' times; worker seconds paid; the highest number of workers; (time, workers) at each change."""

    jobs: JobTimes
    worker_s: float
    most_workers: int
    cold_starts: int
    ended_at: float
    workers: Sequence[tuple[float, int]]


def simulate(endpoint: SimulatedEndpoint, load: Iterable[Arrival]) -> Outcome:
    """Run a load, in order of arrival, until its last job is done. Needs room for one worker at least."""
    if endpoint.policy.max_workers < 1:
        raise ValueError(f"max_workers {endpoint.policy.max_workers}: expected at least 1")
    run = _Run(endpoint)
    run.start_workers(0.0, endpoint.policy.min_workers, warm=True)
    arrivals = iter(load)
    run.arrive(arrivals)
    run.schedule(0.0, _Decision())
    while run.events and not run.finished:
        now, _, event = heappop(run.events)
        if isinstance(event, _Arriving):
            run.enqueue(now, event.arrival)
            run.arrive(arrivals)
        elif isinstance(event, _Mark):
            run.mark(now, event)
        elif isinstance(event, _Ready):
            run.offer(event.worker)
        else:
            run.decide(now)
        run.dispatch(now)
    return run.outcome()


@dataclass(frozen=True, slots=True)
class _Arriving:
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class _Mark:
    worker: WorkerModel
    version: int


@dataclass(frozen=True, slots=True)
class _Ready:
    worker: WorkerModel


@dataclass(frozen=True, slots=True)
class _Decision:
    """The platform's scaler decides."""


_Event = _Arriving | _Mark | _Ready | _Decision


class _Run:
    """The state of one simulation."""

    def __init__(self, endpoint: SimulatedEndpoint) -> None:
        self.events: list[tuple[float, int, _Event]] = []
        self._endpoint = endpoint
        self._rates = endpoint.curve.rates()
        self._order = count()
        self._names = count()
        self._works: dict[int, Work] = {}
        self._queue: deque[int] = deque()
        self._offers: deque[WorkerModel] = deque()
        self._offered: set[str] = set()
        self._workers: dict[str, WorkerModel] = {}
        self._scaler = Scaler(endpoint.policy)
        self._jobs = JobTimes(array("d"), array("d"), array("d"), array("d"))
        self._done = 0
        self._all_arrived = False
        self._now = 0.0
        self._worker_s = 0.0
        self._starts = 0
        self._history: list[tuple[float, int]] = []

    @property
    def finished(self) -> bool:
        """Whether every job of the load is done."""
        return self._all_arrived and self._done == len(self._jobs.arrived)

    def schedule(self, at: float, event: _Event) -> None:
        """An event of the future; those of one moment happen in the order of these calls."""
        heappush(self.events, (at, next(self._order), event))

    def arrive(self, arrivals: Iterable[Arrival]) -> None:
        """Schedule the next arrival."""
        for arrival in arrivals:
            self.schedule(arrival.at_s, _Arriving(arrival))
            return
        self._all_arrived = True

    def enqueue(self, now: float, arrival: Arrival) -> None:
        """A job enters the queue."""
        job = len(self._jobs.arrived)
        self._jobs.arrived.append(now)
        for times in (self._jobs.taken, self._jobs.first_token, self._jobs.done):
            times.append(nan)
        prompt = self._endpoint.curve.prompt_work(arrival.prompt_tokens)
        self._works[job] = Work(job, prompt, float(arrival.output_tokens))
        self._queue.append(job)

    def offer(self, worker: WorkerModel) -> None:
        """A worker polls for jobs: it is served after those that poll already."""
        if worker.name not in self._offered:
            self._offered.add(worker.name)
            self._offers.append(worker)

    def dispatch(self, now: float) -> None:
        """Hand waiting jobs to polling workers, to each as many as it has room for."""
        self._now = now
        while self._queue and self._offers:
            worker = self._offers.popleft()
            self._offered.discard(worker.name)
            taken = min(worker.free(now), len(self._queue))
            for _ in range(taken):
                job = self._queue.popleft()
                self._jobs.taken[job] = now
                worker.take(now, self._works.pop(job))
            if taken:
                self._schedule_mark(worker)
                self.offer(worker)

    def mark(self, now: float, event: _Mark) -> None:
        """A first token or the end of an answer, unless the engine's load has changed since it was scheduled."""
        worker = event.worker
        if event.version != worker.version:
            return
        job, ended = worker.engine.pop_mark(now)
        overhead = self._endpoint.curve.overhead_s
        if self._jobs.first_token[job] != self._jobs.first_token[job]:
            self._jobs.first_token[job] = now + overhead
        if ended:
            self._jobs.done[job] = now + overhead
            self._done += 1
            worker.release(now)
            self.offer(worker)
        self._schedule_mark(worker)

    def decide(self, now: float) -> None:
        """Add and end workers as the gateway's scaler says."""
        waiting = len(self._queue)
        load = Load(
            waiting=waiting,
            running=len(self._jobs.arrived) - self._done - waiting,
            longest_wait_s=now - self._jobs.arrived[self._queue[0]] if waiting else 0.0,
        )
        resize = self._scaler.decide(load, [worker.scalable(now) for worker in self._workers.values()], now)
        self.start_workers(now, resize.start)
        for name in resize.stop:
            self._stop(now, self._workers[name])
        self.schedule(now + self._endpoint.decision_s, _Decision())

    def start_workers(self, now: float, number: int, *, warm: bool = False) -> None:
        """So many cold starts; the workers that an endpoint keeps are warm at the beginning."""
        for _ in range(number):
            ready = now if warm else now + self._endpoint.cold_start_s
            name = str(next(self._names))
            worker = WorkerModel(name, now, ready, EngineModel(self._rates), self._endpoint.job_limit())
            self._workers[name] = worker
            self._starts += not warm
            self.schedule(ready, _Ready(worker))
        if number > 0:
            self._history.append((now, len(self._workers)))

    def outcome(self) -> Outcome:
        """The figures of the whole run."""
        ended = max((done for done in self._jobs.done if done == done), default=self._now)
        paid = self._worker_s + sum(worker.billed_s(ended) for worker in self._workers.values())
        most = max((workers for _, workers in self._history), default=0)
        return Outcome(self._jobs, paid, most, self._starts, ended, self._history)

    def _stop(self, now: float, worker: WorkerModel) -> None:
        worker.stop(now)
        self._worker_s += worker.billed_s(now)
        del self._workers[worker.name]
        self._history.append((now, len(self._workers)))

    def _schedule_mark(self, worker: WorkerModel) -> None:
        worker.version += 1
        due = worker.engine.next_mark()
        if due is not None and due < inf:
            self.schedule(due, _Mark(worker, worker.version))
