"""One load-balancing endpoint: its workers' health, the requests that wait for a worker, and who serves them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import aiohttp

from worker_vllm.gateway.fleet.scaling import Load
from worker_vllm.gateway.load_balancing.affinity import Affinity
from worker_vllm.gateway.load_balancing.edge_answers import affinity_gone, affinity_timeout, no_workers, too_many
from worker_vllm.gateway.load_balancing.forwarded_request import ForwardedRequest
from worker_vllm.gateway.load_balancing.pool import PooledWorker, PoolHealth, WorkerAddress, WorkerPool
from worker_vllm.gateway.options import BalancerOptions

KEEP_ALIVE_S = 4.0  # below the 5 s after which uvicorn, and so vLLM, closes an idle connection
READ_BUFFER_BYTES = 64 * 1024
CONNECT_TIMEOUT_S = 10.0


def client_session() -> aiohttp.ClientSession:
    """A client that changes nothing: no redirects kept, no cookies, no decompression, no limit of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        read_bufsize=READ_BUFFER_BYTES,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Content-Type"),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class LoadBalancer:
    """Polls the health path of its workers and assigns requests to them. Create and close it inside its loop."""

    def __init__(self, options: BalancerOptions, clock: Callable[[], float]) -> None:
        self.options = options
        self.pool = WorkerPool()
        self.session = client_session()
        self.resume: Callable[[str], None] = lambda worker_id: None  # thaw a frozen worker that a client insists on
        self.observe: Callable[[ForwardedRequest], None] = lambda request: None  # told of each one that is over
        self.clock = clock
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[object, float] = {}  # since when each request waits
        self._change = asyncio.Event()
        self._probes = 0

    async def aclose(self) -> None:
        """End the probes and close all connections to workers."""
        polls = list(self._polls.values())
        self._polls.clear()
        for poll in polls:
            poll.cancel()
        if polls:
            await asyncio.wait(polls)
        await self.session.close()

    def load(self) -> Load:
        """The requests that wait and those that workers serve, for the scaler."""
        now = self.clock()
        running = sum(worker.open_requests for worker in self.pool.workers())
        return Load(len(self._waiting), running, max((now - since for since in self._waiting.values()), default=0.0))

    def add(self, worker_id: str, address: WorkerAddress) -> None:
        """Add a started worker and poll its health path from now on."""
        self.pool.add(worker_id, address)
        self._restart_poll(worker_id)

    def remove(self, worker_id: str) -> None:
        """Remove a worker whose process has ended."""
        self.pool.remove(worker_id)
        self._end_poll(worker_id)
        self.changed()

    def drain(self, worker_id: str) -> None:
        """Give a worker no more requests; `drained` waits for those that it has."""
        if (worker := self.pool.find(worker_id)) is not None:
            worker.draining = True
            self.changed()

    def freeze(self, worker_id: str) -> None:
        """Give a stopped worker no requests, and do not ask for its health."""
        if (worker := self.pool.find(worker_id)) is not None:
            worker.frozen = True
            self._end_poll(worker_id)
            self.changed()

    def thaw(self, worker_id: str) -> None:
        """Ask a continued worker for its health at once; until it answers, it initializes."""
        if (worker := self.pool.find(worker_id)) is not None and worker.frozen:
            worker.frozen, worker.health = False, PoolHealth.INITIALIZING
            self._restart_poll(worker_id)
            self.changed()

    def changed(self) -> None:
        """Wake everyone who waits for a change of the pool."""
        self._change.set()
        self._change = asyncio.Event()

    async def drained(self, worker_id: str) -> None:
        """Wait until a worker has no open request."""
        while (worker := self.pool.find(worker_id)) is not None and worker.open_requests:
            await self._change.wait()

    async def probe(self, worker: PooledWorker) -> int | None:
        """Ask the worker's health path once; the answer's status, None for no answer.

        An answer is dropped when that of a later probe has come already: it describes an older state.
        """
        self._probes += 1
        number, before = self._probes, worker.health
        status = await self._status(worker.address.health)
        if number > worker.probed:
            worker.probed = number
            self.pool.record_health(worker.id, status, self.clock())
        if worker.health is not before:
            self.changed()
        return status

    @asynccontextmanager
    async def assigned(self, affinity: Affinity) -> AsyncIterator[PooledWorker]:
        """A worker for a request, once there is one; it counts as the worker's until the end of the block.

        Raises EdgeAnswer when none comes in time.
        """
        worker = self.pool.choose(affinity)
        if worker is None:
            worker = await self._wait_for_worker(affinity)
        self.pool.open(worker)
        self.changed()
        try:
            yield worker
        finally:
            self.pool.close(worker, self.clock())
            self.changed()

    async def _wait_for_worker(self, affinity: Affinity) -> PooledWorker:
        wait_s = self.options.affinity_wait_s if affinity.strict else self.options.worker_wait_s
        with self._registered():
            try:
                async with asyncio.timeout(wait_s):
                    while True:
                        change = self._change  # of before the look: what changes during it is not missed
                        if (worker := self.pool.choose(affinity)) is not None:
                            return worker
                        self._check_affinity(affinity)
                        await change.wait()
            except TimeoutError:
                raise (affinity_timeout() if affinity.strict else no_workers()) from None

    def _check_affinity(self, affinity: Affinity) -> None:
        if not affinity.strict:
            return
        worker = self.pool.find(affinity.worker_id)
        if worker is None:
            raise affinity_gone(affinity.worker_id)
        if worker.frozen and affinity.resumes:
            self.resume(worker.id)

    @contextmanager
    def _registered(self) -> Iterator[None]:
        if len(self._waiting) >= self.options.waiting_requests:
            raise too_many(len(self._waiting))
        request = object()
        self._waiting[request] = self.clock()
        try:
            yield
        finally:
            del self._waiting[request]

    def _restart_poll(self, worker_id: str) -> None:
        self._end_poll(worker_id)
        self._polls[worker_id] = asyncio.create_task(self._poll(worker_id), name=f"health {worker_id}")

    def _end_poll(self, worker_id: str) -> None:
        if (poll := self._polls.pop(worker_id, None)) is not None:
            poll.cancel()

    async def _poll(self, worker_id: str) -> None:
        while (worker := self.pool.find(worker_id)) is not None:
            await self.probe(worker)
            await asyncio.sleep(self.options.poll_s)

    async def _status(self, url: str) -> int | None:
        try:
            timeout = aiohttp.ClientTimeout(total=self.options.probe_timeout_s)
            async with self.session.get(url, timeout=timeout, allow_redirects=False) as response:
                return response.status
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return None
