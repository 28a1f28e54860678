"""Writes changed jobs to the file in batches, behind the pure state, and signals when a change is on disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from worker_vllm.errors import WorkerError
from worker_vllm.gateway.state.endpoint import Changes, Endpoint
from worker_vllm.gateway.storage.job_file import CannotStore, JobFile
from worker_vllm.gateway.storage.rows import Batch, Key, Stored

LARGE_BYTES = 1_000_000  # of a batch: writing it would hold up the event loop
RETRY_S = 1.0  # after a batch that could not be written

log = logging.getLogger(__name__)


class Journal:
    """One file behind the endpoints of one gateway.

    A batch takes the changes that have gathered while the one before was written, so a busy gateway writes few large
    transactions. What waits to be written is the set of changed job ids, each once: its bound is that of the jobs.
    """

    def __init__(self, file: JobFile, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        self._wall_clock = wall_clock
        self._endpoints: dict[str, Endpoint] = {}
        self._stored: dict[Key, Stored] = {}
        self._wake = asyncio.Event()
        self._next: asyncio.Future[None] | None = None  # of the batch that takes what changes now
        self._in_flight: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._writing: asyncio.Task[None] | None = None
        self._closing = False

    def follow(self, name: str, endpoint: Endpoint) -> None:
        """Write this endpoint's changes from now on."""
        self._endpoints[name] = endpoint
        endpoint.mark_changed(Changes([], []))

    def skip_changes(self) -> None:
        """Count the present jobs as stored: they were just read from the file."""
        for name, endpoint in self._endpoints.items():
            endpoint.take_changes()
            self._stored.update({(name, job.id): Stored.of(job) for job in endpoint.store.jobs()})

    def notify(self) -> None:
        """There may be changes: called after every change of a state."""
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_batches())
        if not self._wake.is_set() and self._has_changes():
            self._wake.set()

    async def committed(self) -> None:
        """Return when every change until now is in the file. Raises CannotStore."""
        self.notify()
        if self._has_changes():
            if self._next is None:
                self._next = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._next)
        elif self._in_flight is not None:
            await asyncio.shield(self._in_flight)

    async def close(self, export_to: Path | None = None) -> None:
        """Write what has changed, export it if asked for, and close the file. Raises CannotStore."""
        self._closing = True
        self.notify()
        self._wake.set()
        try:
            if self._writing is not None:
                await self._writing
            if export_to is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._file.export, export_to)
        finally:
            self._thread.shutdown()
            self._file.close()

    def _has_changes(self) -> bool:
        return any(endpoint.has_changes for endpoint in self._endpoints.values())

    async def _write_batches(self) -> None:
        while not self._closing or self._has_changes():
            await self._wake.wait()
            self._wake.clear()
            while self._has_changes():
                if not await self._write_batch() and self._closing:
                    return

    async def _write_batch(self) -> bool:
        """Write what has changed; False when it could not be written, and is to be tried with the next change."""
        loop = asyncio.get_running_loop()
        written = self._in_flight = self._next or loop.create_future()
        self._next = None
        changed = {name: endpoint.take_changes() for name, endpoint in self._endpoints.items()}
        try:
            batch = self._batch(changed)
            if batch.bytes > LARGE_BYTES:
                await loop.run_in_executor(self._thread, self._file.write, batch)
            else:  # a thread would wait for the interpreter at every row while the loop is busy
                self._file.write(batch)
        except Exception as error:  # of any kind: the waiting requests get the error, and the next batch tries again
            log.error("the state is not stored: %s", error, exc_info=not isinstance(error, WorkerError))
            for name, endpoint in self._endpoints.items():
                endpoint.mark_changed(changed[name])
            written.set_exception(CannotStore(f"the job is not stored: {error}"))
            written.exception()  # not every batch is waited for
            self._in_flight = None
            await asyncio.sleep(RETRY_S)
            return False
        self._stored.update(batch.stored)
        for key in batch.deleted:
            self._stored.pop(key, None)
        written.set_result(None)
        self._in_flight = None
        return True

    def _batch(self, changed: Mapping[str, Changes]) -> Batch:
        batch = Batch()
        wall_offset = self._wall_clock() - self._clock()
        for name, changes in changed.items():
            endpoint = self._endpoints[name]
            store = endpoint.store
            for job_id in changes.jobs:
                job = store.find(job_id)
                if job is None:
                    batch.deleted.append((name, job_id))
                else:
                    batch.add(name, job, wall_offset, self._stored.get((name, job_id)))
            for worker_id in changes.workers:
                batch.workers.append((name, worker_id, endpoint.fleet.interval_s(worker_id)))
            if changes.jobs:
                batch.endpoints.append((name, store.completed, store.failed, store.retried))
        return batch
