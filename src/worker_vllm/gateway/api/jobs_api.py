"""RunPod's public job API: run, runsync, status, status-sync, stream, cancel, retry, purge-queue, health, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import Response

from worker_vllm.errors import RequestError, WorkerError
from worker_vllm.gateway.api.operation import Operation
from worker_vllm.gateway.api.submission import read_submission, ttl_seconds
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import GatewayRequest
from worker_vllm.gateway.server.response import GatewayResponse
from worker_vllm.gateway.state.job import Job
from worker_vllm.gateway.waits import HeldRequest
from worker_vllm.json_bytes import dump

LISTED, MOST_LISTED = 100, 10_000  # jobs of /requests
UNSUPPORTED = ("/batch", "/batch/{rest:path}", "/realtime")


class JobsApi:
    """One method per operation."""

    def __init__(self, options: GatewayOptions, new_id: Callable[[], str]) -> None:
        self._options = options
        self._new_id = new_id
        self.operations = (
            Operation("status", "GET POST", "/status/{job_id}", self.status),
            Operation("run", "POST", "/run", self.run),
            Operation("runsync", "POST", "/runsync", self.runsync),
            Operation("status-sync", "GET POST", "/status-sync/{job_id}", self.status_sync),
            Operation("stream", "GET POST", "/stream/{job_id}", self.stream),
            Operation("cancel", "POST", "/cancel/{job_id}", self.cancel),
            Operation("retry", "POST", "/retry/{job_id}", self.retry),
            Operation("purge-queue", "POST", "/purge-queue", self.purge_queue),
            Operation("health", "GET", "/health", self.health),
            Operation("metrics", "GET", "/metrics", self.metrics),
            Operation("requests", "GET", "/requests", self.requests),
            *(Operation(path.split("/")[1], "", path, self.unsupported) for path in UNSUPPORTED),
        )

    async def run(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Queue a job and answer with its id at once."""
        payload = request.json(self._options.limits.run_bytes)
        job_id = f"{self._new_id()}-u1"
        submission = read_submission(payload, self._options.jobs, sync=False)
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        try:
            await endpoint.committed()
        except WorkerError:  # the client gets a 404
            endpoint.perform(endpoint.state.store.cancel(job_id, endpoint.clock()))
            raise
        return self._answer({"id": job_id, "status": "IN_QUEUE"})

    async def runsync(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Queue a job, wait until it ends or the wait time is over, and answer with its status object."""
        payload = request.json(self._options.limits.runsync_bytes)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.runsync_s)
        submission = read_submission(payload, self._options.jobs, sync=True)
        job_id = f"sync-{self._new_id()}-u1"
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        job = endpoint.state.store.get(job_id)
        await self._until(request, endpoint, job, lambda: job.terminal, wait_s)
        return self._answer(job.to_client())

    async def status(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the status object; `?ttl=` changes the job's time to live."""
        job_id = request.param("job_id")
        store = endpoint.state.store
        if (ttl_ms := request.query().get("ttl")) is not None:
            store.set_ttl(job_id, ttl_seconds(ttl_ms, 6))
            endpoint.perform(())
            await endpoint.committed()
        return self._answer(store.get(job_id).to_client())

    async def status_sync(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the status object once the job has ended or the wait time is over."""
        job_id = request.param("job_id")
        job = endpoint.state.store.get(job_id)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.runsync_s)
        await self._until(request, endpoint, job, lambda: job.terminal, wait_s)
        return self._answer(job.to_client())

    async def stream(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the stream pieces since the last call; waits until there is one or the job has ended."""
        job_id = request.param("job_id")
        store = endpoint.state.store
        job = store.get(job_id)
        wait_s = self._wait_s(request.query().get("wait"), self._options.waits.stream_s)
        await self._until(request, endpoint, job, lambda: bool(job.pieces) or job.terminal, wait_s)
        pieces = [{"output": output} for output in store.read_pieces(job)]
        await endpoint.committed()  # a job of which a piece was read is not run again
        return self._answer({"status": job.status.value, "stream": pieces})

    async def cancel(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Cancel a queued or running job; an ended job keeps its state."""
        job_id = request.param("job_id")
        endpoint.perform(endpoint.state.store.cancel(job_id, endpoint.clock()))
        await endpoint.committed()
        status = endpoint.state.store.get(job_id).status
        return self._answer({"id": job_id, "status": status.value})

    async def retry(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Queue a FAILED or TIMED_OUT job again under its own id."""
        job_id = request.param("job_id")
        endpoint.perform(endpoint.state.store.retry(job_id, endpoint.clock()))
        await endpoint.committed()
        return self._answer({"id": job_id, "status": "IN_QUEUE"})

    async def purge_queue(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Cancel every queued job."""
        removed, effects = endpoint.state.store.purge(endpoint.clock())
        endpoint.perform(effects)
        await endpoint.committed()
        return self._answer({"removed": removed, "status": "completed"})

    async def health(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the counts of jobs and workers by state."""
        return self._answer(endpoint.state.health())

    async def metrics(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the worker counts and the ids of the ready workers."""
        ready = [w.id for w in endpoint.state.fleet.workers() if w.last_request is not None and w.may_take]
        return self._answer({"readyWorkers": ready, "workers": endpoint.state.health()["workers"]})

    async def requests(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the jobs that the endpoint holds, newest first, without their outputs."""
        asked = request.query().get("limit", str(LISTED))
        if not asked.isdecimal() or not 1 <= int(asked) <= MOST_LISTED:
            raise RequestError(f'limit="{asked}": expected a whole number from 1 to {MOST_LISTED}')
        jobs = sorted(endpoint.state.store.jobs(), key=lambda job: job.created, reverse=True)[: int(asked)]
        listed = [{k: v for k, v in job.to_client().items() if k != "output"} for job in jobs]
        return self._answer({"requests": listed})

    async def unsupported(self, request: GatewayRequest, _: EndpointRuntime) -> Response:
        """Answer 501: RunPod has this operation."""
        raise RequestError(
            f'{request.path}: RunPod has this, this gateway has not; see "What is supported" in docs/gateway.md',
            status=501,
        )

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

    def _answer(self, payload: dict[str, Any]) -> Response:
        return GatewayResponse(200, dump(payload, sort_keys=self._options.sort_keys))
