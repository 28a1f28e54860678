"""RunPod's worker API: job-take, job-stop, job-stream, job-done, ping. Accepts what RunPod's SDK sends."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from starlette.responses import Response

from worker_vllm.errors import RequestError
from worker_vllm.gateway.api.operation import Operation
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime, TakeRequest
from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest
from worker_vllm.gateway.server.response import JSON_TYPE, GatewayResponse
from worker_vllm.gateway.state.endpoint import Ping
from worker_vllm.gateway.state.job import ABSENT, Job, JobOutcome, Piece
from worker_vllm.gateway.waits import HeldRequest
from worker_vllm.json_bytes import dump

LARGEST_BATCH = 10_000
LONGEST_REASON = 256  # as the SDK sends it

log = logging.getLogger(__name__)

Render: TypeAlias = Callable[[list[Job]], bytes]


def job_for_worker(job: Job) -> bytes:
    """The job as JSON text; its input is the client's text, unchanged."""
    asked = job.submission
    head = b'{"id": %s, "delayTime": %d, "retries": %d' % (dump(job.id), job.delay_ms or 0, job.retries)
    return b'%b%b, "input": %b}' % (head, asked.forwarded, asked.input)


def jobs_for_worker(jobs: list[Job]) -> bytes:
    """Several jobs as a JSON array."""
    return b"[%s]" % b", ".join(map(job_for_worker, jobs))


def result_of(payload: dict[str, Any], size: int) -> JobOutcome:
    """The outcome in a job-done body. An error that is not a string becomes its JSON text."""
    error = payload.get("error")
    if error is not None and not isinstance(error, str):
        error = dump(error).decode()
    return JobOutcome(output=payload.get("output", ABSENT), error=error or None, size=size)


class WorkerApi:
    """One method per operation."""

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self.operations = (
            Operation("job-stream", "POST", "/job-stream/{worker_id}/{job_id}", self.stream),
            Operation("job-done", "POST", "/job-done/{worker_id}/{job_id}", self.done),
            Operation("job-take", "GET", "/job-take/{worker_id}", self.take),
            Operation("job-take-batch", "GET", "/job-take-batch/{worker_id}", self.take_batch),
            Operation("job-stop", "GET", "/job-stop/{worker_id}", self.stop),
            Operation("ping", "GET", "/ping/{worker_id}", self.ping),
        )

    async def take(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with one job as an object; waits for one, 204 when the wait time is over."""
        take_request = TakeRequest(request.param("worker_id"), 1)
        return await self._take(request, endpoint, take_request, lambda jobs: job_for_worker(jobs[0]))

    async def take_batch(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with up to `batch_size` jobs as an array; waits for one, 204 when the wait time is over."""
        wanted = request.query().get("batch_size", "1")
        if not wanted.isdecimal() or not 1 <= int(wanted) <= LARGEST_BATCH:
            raise RequestError(f'batch_size="{wanted}": expected a whole number from 1 to {LARGEST_BATCH}')
        return await self._take(
            request, endpoint, TakeRequest(request.param("worker_id"), int(wanted)), jobs_for_worker
        )

    async def stop(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Answer with the ids of the jobs to stop; waits for one, 204 when the wait time is over."""
        worker_id, fleet = request.param("worker_id"), endpoint.state.fleet
        fleet.touch(worker_id, endpoint.clock())
        with HeldRequest(request, endpoint.signals, f"stop {worker_id}", self._options.waits.stop_s) as held:
            await self._poll(held, endpoint, worker_id, lambda: fleet.has_stops(worker_id))
        stops = fleet.take_stops(worker_id)
        return (
            GatewayResponse(200, json.dumps({"jobsToStop": stops}).encode(), JSON_TYPE)
            if stops
            else GatewayResponse(204)
        )

    async def stream(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Receive one piece of a job's stream; the answer waits while the client that reads the stream is slow."""
        worker_id, job_id, store = request.param("worker_id"), request.param("job_id"), endpoint.state.store
        body = request.body(self._options.limits.piece_bytes)
        payload = _parse(body)
        endpoint.state.fleet.touch(worker_id, endpoint.clock())
        endpoint.perform(store.add_piece(job_id, worker_id, Piece(payload.get("output"), len(body))))
        if not store.has_room(job_id):
            longest_s = self._options.waits.openai_stream_s
            with HeldRequest(request, endpoint.signals, f"room {job_id}", longest_s) as held:
                await held.wait_until(lambda: endpoint.closing or store.has_room(job_id))
        return GatewayResponse(200)

    async def done(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Receive a job's result, or its progress (status IN_PROGRESS)."""
        worker_id, job_id = request.param("worker_id"), request.param("job_id")
        try:
            body = request.body(self._options.limits.result_bytes)
        except RequestError:
            endpoint.perform(endpoint.state.finish(worker_id, job_id, JobOutcome(), endpoint.clock()))
            await endpoint.committed()
            raise
        payload = _parse(body)
        if payload.get("status") == "IN_PROGRESS":
            piece = Piece(payload.get("output"), len(body))
            endpoint.perform(endpoint.state.store.progress(job_id, worker_id, piece))
            return GatewayResponse(200)
        counts = endpoint.state.store.accepts_result(job_id, worker_id)
        endpoint.perform(endpoint.state.finish(worker_id, job_id, result_of(payload, len(body)), endpoint.clock()))
        await endpoint.committed()
        if payload.get("stopPod"):
            endpoint.state.retire(worker_id, endpoint.clock())
            endpoint.signals.wake("workers")
        return GatewayResponse(200 if counts else self._options.late_result_status)

    async def ping(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Receive a heartbeat with the ids of the worker's jobs."""
        query = request.query()
        job_ids = [job_id for job_id in query.get("job_id", "").split(",") if job_id]
        worker_id = request.param("worker_id")
        healthy = query.get("status") != "unhealthy"
        check, reason = query.get("check", "")[:LONGEST_REASON], query.get("reason", "")[:LONGEST_REASON]
        ping = Ping(worker_id, job_ids, healthy, check, reason)
        if not healthy:
            log.info("worker %s reports that it is unhealthy: %s: %s", worker_id, check, reason)
        endpoint.perform(endpoint.state.ping(ping, endpoint.clock()))
        endpoint.signals.wake("workers")
        return GatewayResponse(200)

    async def _take(
        self, request: GatewayRequest, endpoint: EndpointRuntime, take_request: TakeRequest, render: Render
    ) -> Response:
        endpoint.take(take_request)
        if not take_request.jobs and not endpoint.closing:
            await self._wait_for_jobs(request, endpoint, take_request)
        endpoint.withdraw(take_request)
        if not take_request.jobs:
            return GatewayResponse(204)
        try:
            await endpoint.committed()
        except BaseException:
            endpoint.put_back(take_request)
            raise
        return GatewayResponse(200, render(take_request.jobs), JSON_TYPE)

    async def _wait_for_jobs(
        self, request: GatewayRequest, endpoint: EndpointRuntime, take_request: TakeRequest
    ) -> None:
        try:
            with HeldRequest(request, endpoint.signals, take_request.signal, self._options.waits.take_s) as held:
                await self._poll(held, endpoint, take_request.worker_id, lambda: take_request.jobs is not None)
        except BaseException:
            endpoint.put_back(take_request)
            raise

    async def _poll(
        self, held: HeldRequest, endpoint: EndpointRuntime, worker_id: str, reached: Callable[[], bool]
    ) -> None:
        fleet = endpoint.state.fleet
        fleet.poll(worker_id, endpoint.clock(), poll_aborted=False)
        try:
            await held.wait_until(lambda: reached() or endpoint.closing)
        except ClientDisconnected:
            fleet.poll(worker_id, endpoint.clock(), poll_aborted=True)
            endpoint.perform(())
            raise


def _parse(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise RequestError(f"the body is JSON of type {type(payload).__name__}: expected an object")
    return payload
