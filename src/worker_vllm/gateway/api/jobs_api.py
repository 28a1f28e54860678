"""RunPod's public job API: run, runsync, status, status-sync, stream, cancel, retry, purge-queue, health, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from worker_vllm.errors import RequestError
from worker_vllm.gateway.api.submission import read_submission, ttl_seconds
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import GatewayRequest, PendingResponse
from worker_vllm.gateway.state.job import Job
from worker_vllm.gateway.waits import HeldRequest
from worker_vllm.json_bytes import dump


class JobsApi:
    """One method per operation: (request, endpoint, job id)."""

    def __init__(self, options: GatewayOptions, new_id: Callable[[], str]) -> None:
        self._options = options
        self._new_id = new_id
        self.routes: dict[str, tuple[str, Callable[[GatewayRequest, EndpointRuntime, str], PendingResponse]]] = {
            "run": ("POST", self.run),
            "runsync": ("POST", self.runsync),
            "status": ("GET POST", self.status),
            "status-sync": ("GET POST", self.status_sync),
            "stream": ("GET POST", self.stream),
            "cancel": ("POST", self.cancel),
            "retry": ("POST", self.retry),
            "purge-queue": ("POST", self.purge_queue),
            "health": ("GET", self.health),
            "metrics": ("GET", self.metrics),
        }

    def run(self, request: GatewayRequest, endpoint: EndpointRuntime, _: str) -> None:
        """Queue a job and answer with its id at once."""
        payload = request.json(self._options.limits.run_bytes)
        job_id = f"{self._new_id()}-u1"
        submission = read_submission(payload, self._options.jobs, sync=False)
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        self._answer(request, {"id": job_id, "status": "IN_QUEUE"})

    async def runsync(self, request: GatewayRequest, endpoint: EndpointRuntime, _: str) -> None:
        """Queue a job, wait until it ends or the wait time is over, and answer with its status object."""
        payload = request.json(self._options.limits.runsync_bytes)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.runsync_s)
        submission = read_submission(payload, self._options.jobs, sync=True)
        job_id = f"sync-{self._new_id()}-u1"
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        job = endpoint.state.store.get(job_id)
        await self._until(request, endpoint, job, lambda: job.terminal, wait_s)
        self._answer(request, job.to_client())

    def status(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        """Answer with the status object; `?ttl=` changes the job's time to live."""
        store = endpoint.state.store
        if (ttl_ms := request.query().get("ttl")) is not None:
            store.set_ttl(job_id, ttl_seconds(ttl_ms, 6))
            endpoint.perform(())
        self._answer(request, store.get(job_id).to_client())

    async def status_sync(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        """Answer with the status object once the job has ended or the wait time is over."""
        job = endpoint.state.store.get(job_id)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.runsync_s)
        await self._until(request, endpoint, job, lambda: job.terminal, wait_s)
        self._answer(request, job.to_client())

    async def stream(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        """Answer with the stream pieces since the last call; waits until there is one or the job has ended."""
        store = endpoint.state.store
        job = store.get(job_id)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.stream_s)
        await self._until(request, endpoint, job, lambda: bool(job.pieces) or job.terminal, wait_s)
        pieces = [{"output": output} for output in store.read_pieces(job)]
        self._answer(request, {"status": job.status.value, "stream": pieces})

    def cancel(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        """Cancel a queued or running job; an ended job keeps its state."""
        endpoint.perform(endpoint.state.store.cancel(job_id, endpoint.clock()))
        status = endpoint.state.store.get(job_id).status
        self._answer(request, {"id": job_id, "status": status.value})

    def retry(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        """Queue a FAILED or TIMED_OUT job again under its own id."""
        endpoint.perform(endpoint.state.store.retry(job_id, endpoint.clock()))
        self._answer(request, {"id": job_id, "status": "IN_QUEUE"})

    def purge_queue(self, request: GatewayRequest, endpoint: EndpointRuntime, _: str) -> None:
        """Cancel every queued job."""
        removed, effects = endpoint.state.store.purge(endpoint.clock())
        endpoint.perform(effects)
        self._answer(request, {"removed": removed, "status": "completed"})

    def health(self, request: GatewayRequest, endpoint: EndpointRuntime, _: str) -> None:
        """Answer with the counts of jobs and workers by state."""
        self._answer(request, endpoint.state.health())

    def metrics(self, request: GatewayRequest, endpoint: EndpointRuntime, _: str) -> None:
        """Answer with the worker counts and the ids of the ready workers."""
        ready = [w.id for w in endpoint.state.fleet.workers() if w.last_request is not None and w.may_take]
        self._answer(request, {"readyWorkers": ready, "workers": endpoint.state.health()["workers"]})

    def _wait_s(self, text: str | None, default_s: float) -> float:
        if text is None:
            return default_s
        if not text.isdecimal():
            raise RequestError(f'wait="{text}": expected milliseconds as a whole number')
        return min(max(int(text) / 1000, 1.0), self._options.waits.longest_s)

    async def _until(
        self, request: GatewayRequest, endpoint: EndpointRuntime, job: Job, reached: Callable[[], bool], wait_s: float
    ) -> None:
        store = endpoint.state.store
        with HeldRequest(request, endpoint.signals, job.id, wait_s) as held:
            await held.wait_until(lambda: reached() or endpoint.closing or store.find(job.id) is not job)
        store.get(job.id)  # raises NotFound when the time to live has ended meanwhile

    def _answer(self, request: GatewayRequest, payload: dict[str, Any]) -> None:
        request.answer(200, dump(payload, sort_keys=self._options.sort_keys))
