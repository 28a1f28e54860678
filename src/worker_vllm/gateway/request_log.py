"""The last finished requests of a gateway, for its terminal and for `worker-vllm jobs`."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from worker_vllm.gateway.gateway import Gateway
from worker_vllm.gateway.request_record import RequestRecord, Usage, record
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.state.job import Job, Piece, WebhookAttempt

KEPT = 1_000

Listener = Callable[[RequestRecord], None]


class RequestLog:
    """Follows every endpoint of a gateway from `follow` on; a listener is called for each request that ends."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.listeners: list[Listener] = []
        self._wall = wall
        self._records: deque[RequestRecord] = deque(maxlen=KEPT)
        self._count = 0

    def follow(self, gateway: Gateway) -> None:
        """Follow the endpoints that exist, and later ones from their creation."""
        gateway.watch_endpoints(self._add_endpoint)

    def since(self, number: int) -> list[RequestRecord]:
        """The kept records with a number above this one, oldest first."""
        return [one for one in self._records if one.number > number]

    def last(self, count: int) -> list[RequestRecord]:
        """The last records, oldest first."""
        return list(self._records)[-count:]

    def add(self, found: RequestRecord) -> None:
        """Number and keep a record, and tell the listeners."""
        self._count += 1
        numbered = replace(found, number=self._count)
        self._records.append(numbered)
        for listener in self.listeners:
            listener(numbered)

    def _add_endpoint(self, name: str, runtime: EndpointRuntime) -> None:
        runtime.observers.append(EndpointRequests(name, runtime, self, self._wall))


@dataclass(slots=True)
class _Running:
    """What is known of a request that has not ended."""

    first: float | None = None
    newest: Piece | None = None
    usage: Usage = field(default_factory=Usage)


class EndpointRequests:
    """Watches the jobs of one endpoint; a runtime's observer."""

    def __init__(self, name: str, runtime: EndpointRuntime, log: RequestLog, wall: Callable[[], float]) -> None:
        self._name = name
        self._runtime = runtime
        self._log = log
        self._wall = wall
        self._running: dict[str, _Running] = {}
        self._ended: OrderedDict[str, float | None] = OrderedDict()  # when the last recorded jobs ended

    def queued(self) -> None:
        """Nothing is known of the job yet."""

    def webhook_called(self, job_id: str, url: str) -> None:
        """A webhook changes nothing in the record."""

    def webhook_attempted(self, job_id: str, attempt: WebhookAttempt) -> None:
        """Nor does its outcome."""

    def taken(self, job: Job) -> None:
        """A worker has taken the job: what an earlier worker streamed does not count."""
        self._running[job.id] = _Running()

    def changed(self, job_id: str) -> None:
        """A piece came, or the job ended, or it is gone."""
        job = self._runtime.state.store.find(job_id)
        if job is None:
            self._running.pop(job_id, None)
            return
        if job.pieces and (running := self._running.get(job_id)) and running.newest is not job.pieces[-1]:
            running.newest = job.pieces[-1]
            running.usage.read(running.newest.output)
            if running.first is None:
                running.first = self._runtime.clock()
        if job.terminal and self._ended.get(job_id, -1.0) != job.ended:
            self._end(job)

    def _end(self, job: Job) -> None:
        self._ended[job.id] = job.ended
        if len(self._ended) > KEPT:
            self._ended.popitem(last=False)
        running = self._running.pop(job.id, None) or _Running()
        offset = self._wall() - self._runtime.clock()
        self._log.add(record(self._name, job, running.first, running.usage, offset=offset))
