"""RunPod's worker API: job-take, job-stop, job-stream, job-done, ping. Accepts what RunPod's SDK sends."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from worker_vllm.errors import RequestError
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime, TakeRequest
from worker_vllm.gateway.server.request import JSON_TYPE, ClientDisconnected, GatewayRequest, PendingResponse
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
    return b'{"id": %s, "retries": %d%s, "input": %s}' % (dump(job.id), job.retries, asked.forwarded, asked.input)


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
    """One method per operation: (request, endpoint, worker id, job id)."""

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self.routes: dict[str, tuple[str, Callable[[GatewayRequest, EndpointRuntime, str, str], PendingResponse]]] = {
            "job-take": ("GET", self.take),
            "job-take-batch": ("GET", self.take_batch),
            "job-stop": ("GET", self.stop),
            "job-stream": ("POST", self.stream),
            "job-done": ("POST", self.done),
            "ping": ("GET", self.ping),
        }

    def take(self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, _: str) -> PendingResponse:
        """Answer with one job as an object; waits for one, 204 when the wait time is over."""
        return self._take(request, endpoint, TakeRequest(worker_id, 1), lambda jobs: job_for_worker(jobs[0]))

    def take_batch(
        self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, _: str
    ) -> PendingResponse:
        """Answer with up to `batch_size` jobs as an array; waits for one, 204 when the wait time is over."""
        wanted = request.query().get("batch_size", "1")
        if not wanted.isdecimal() or not 1 <= int(wanted) <= LARGEST_BATCH:
            raise RequestError(f'batch_size="{wanted}": expected a whole number from 1 to {LARGEST_BATCH}')
        return self._take(request, endpoint, TakeRequest(worker_id, int(wanted)), jobs_for_worker)

    async def stop(self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, _: str) -> None:
        """Answer with the ids of the jobs to stop; waits for one, 204 when the wait time is over."""
        fleet = endpoint.state.fleet
        fleet.touch(worker_id, endpoint.clock())
        with HeldRequest(request, endpoint.signals, f"stop {worker_id}", self._options.waits.stop_s) as held:
            await self._poll(held, endpoint, worker_id, lambda: fleet.has_stops(worker_id))
        if stops := fleet.take_stops(worker_id):
            request.answer(200, json.dumps({"jobsToStop": stops}).encode(), JSON_TYPE)
        else:
            request.answer(204)

    def stream(
        self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, job_id: str
    ) -> PendingResponse:
        """Receive one piece of a job's stream; the answer waits while the client that reads the stream is slow."""
        body = request.body(self._options.limits.piece_bytes)
        payload = _parse(body)
        endpoint.state.fleet.touch(worker_id, endpoint.clock())
        piece = Piece(payload.get("output"), len(body))
        endpoint.perform(endpoint.state.store.add_piece(job_id, worker_id, piece))
        if not endpoint.state.store.has_room(job_id):
            return self._held_piece(request, endpoint, job_id)
        request.answer(200)
        return None

    def done(self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, job_id: str) -> None:
        """Receive a job's result, or its progress (status IN_PROGRESS)."""
        try:
            body = request.body(self._options.limits.result_bytes)
        except RequestError:
            endpoint.perform(endpoint.state.finish(worker_id, job_id, JobOutcome(), endpoint.clock()))
            raise
        payload = _parse(body)
        if payload.get("status") == "IN_PROGRESS":
            piece = Piece(payload.get("output"), len(body))
            endpoint.perform(endpoint.state.store.progress(job_id, worker_id, piece))
            return request.answer(200)
        counts = endpoint.state.store.accepts_result(job_id, worker_id)
        endpoint.perform(endpoint.state.finish(worker_id, job_id, result_of(payload, len(body)), endpoint.clock()))
        if payload.get("stopPod"):
            endpoint.state.retire(worker_id, endpoint.clock())
            endpoint.signals.wake("workers")
        request.answer(200 if counts else self._options.late_result_status)

    def ping(self, request: GatewayRequest, endpoint: EndpointRuntime, worker_id: str, _: str) -> None:
        """Receive a heartbeat with the ids of the worker's jobs."""
        query = request.query()
        job_ids = [job_id for job_id in query.get("job_id", "").split(",") if job_id]
        healthy = query.get("status") != "unhealthy"
        check, reason = query.get("check", "")[:LONGEST_REASON], query.get("reason", "")[:LONGEST_REASON]
        ping = Ping(worker_id, job_ids, healthy, check, reason)
        if not healthy:
            log.info("worker %s reports that it is unhealthy: %s: %s", worker_id, check, reason)
        endpoint.perform(endpoint.state.ping(ping, endpoint.clock()))
        endpoint.signals.wake("workers")
        request.answer(200)

    async def _held_piece(self, request: GatewayRequest, endpoint: EndpointRuntime, job_id: str) -> None:
        store = endpoint.state.store
        with HeldRequest(request, endpoint.signals, f"room {job_id}", self._options.waits.openai_stream_s) as held:
            await held.wait_until(lambda: endpoint.closing or store.has_room(job_id))
        request.answer(200)

    def _take(
        self, request: GatewayRequest, endpoint: EndpointRuntime, take_request: TakeRequest, render: Render
    ) -> PendingResponse:
        endpoint.take(take_request)
        if not take_request.jobs and not endpoint.closing:
            return self._held_take(request, endpoint, take_request, render)
        endpoint.withdraw(take_request)
        _give(request, take_request, render)
        return None

    async def _held_take(
        self, request: GatewayRequest, endpoint: EndpointRuntime, take_request: TakeRequest, render: Render
    ) -> None:
        try:
            with HeldRequest(request, endpoint.signals, take_request.signal, self._options.waits.take_s) as held:
                await self._poll(held, endpoint, take_request.worker_id, lambda: take_request.jobs is not None)
        except BaseException:
            endpoint.put_back(take_request)
            raise
        endpoint.withdraw(take_request)
        _give(request, take_request, render)

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


def _give(request: GatewayRequest, take_request: TakeRequest, render: Render) -> None:
    if take_request.jobs:
        request.answer(200, render(take_request.jobs), JSON_TYPE)
    else:
        request.answer(204)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise RequestError(f"the body is JSON of type {type(payload).__name__}: expected an object")
    return payload
