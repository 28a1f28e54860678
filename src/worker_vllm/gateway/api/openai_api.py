"""`/v2/{endpoint}/openai/…`: runs an HTTP request as a job and answers with the job's result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from worker_vllm.errors import EngineReportedError
from worker_vllm.gateway.api import openai_response
from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.options import GatewayOptions, GetBody
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import EVENT_STREAM_TYPE, ClientDisconnected, GatewayRequest, is_multipart
from worker_vllm.gateway.state.job import Job, Status
from worker_vllm.gateway.waits import HeldRequest

GET_BODIES = {GetBody.ABSENT: None, GetBody.NULL: b"null", GetBody.EMPTY: b"{}"}

# Allowed methods by route: a job carries no HTTP method, so the gateway checks it. Other routes are forwarded.
METHODS: Mapping[str, str] = {
    **dict.fromkeys(("/v1/models", "/health", "/version", "/load", "/metrics"), "GET"),
    **dict.fromkeys(
        (
            *("/v1/chat/completions", "/v1/chat/completions/batch", "/v1/completions", "/v1/responses"),
            *("/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/v2/embed", "/pooling", "/classify"),
            *("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/generative_scoring"),
            "/v1/systemone",
            *("/tokenize", "/detokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
            *("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech"),
        ),
        "POST",
    ),
}
UNSUPPORTED_MEDIA_TYPE = {
    "message": "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed",
    "type": "Bad Request",
    "param": None,
    "code": 400,
}
LONGEST_REQUEST_ID = 256
VISIBLE = frozenset(range(0x21, 0x7F))


class OpenAIApi:
    """Forwards every route under /openai to the worker, which decides whether the route exists."""

    def __init__(self, options: GatewayOptions, new_id: Callable[[], str]) -> None:
        self._options = options
        self._new_id = new_id

    async def forward(self, request: GatewayRequest, endpoint: EndpointRuntime, route: str) -> None:
        """Run the request as a job; answer with the worker's body, status or stream."""
        own_id = _request_id(request)
        if own_id:
            request.extra_headers.append((b"x-request-id", own_id))
        request.expect_method(METHODS.get(route, "GET POST"))
        body, stream = self._read(request)
        job_id = f"sync-{self._new_id()}-u1"
        submission = read_openai(route, body, self._options.jobs)
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        job = endpoint.state.store.get(job_id)
        names = (b"x-job-id",) if own_id else (b"x-job-id", b"x-request-id")
        request.extra_headers += [(name, job_id.encode()) for name in names]
        try:
            await (self._stream if stream else self._whole)(request, endpoint, job)
        except ClientDisconnected:
            if self._options.cancel_on_disconnect and endpoint.state.store.find(job_id) is job:
                endpoint.perform(endpoint.state.store.cancel(job_id, endpoint.clock()))
            raise

    def _read(self, request: GatewayRequest) -> tuple[bytes | None, bool]:
        if request.method == "GET":
            return GET_BODIES[self._options.get_body], False
        _check_content_type(request)
        limit = self._options.limits.runsync_bytes
        payload = request.json(limit)
        return request.json_text(limit), isinstance(payload, dict) and bool(payload.get("stream"))

    async def _whole(self, request: GatewayRequest, endpoint: EndpointRuntime, job: Job) -> None:
        with HeldRequest(request, endpoint.signals, job.id, self._options.waits.openai_s) as held:
            await held.wait_until(lambda: job.terminal or _is_abandoned(endpoint, job))
        self._answer(request, self._ended(job))

    async def _stream(self, request: GatewayRequest, endpoint: EndpointRuntime, job: Job) -> None:
        """Send the headers with the first piece, so that a stream that fails at once gets the error's status."""
        job.followed = True
        try:
            with HeldRequest(request, endpoint.signals, job.id, self._options.waits.openai_stream_s) as held:
                await held.wait_until(lambda: bool(job.pieces) or job.terminal or _is_abandoned(endpoint, job))
                early = openai_response.of_error_event(job.pieces[0].output) if job.pieces else self._ended(job)
                if early is None:
                    await _follow(request, endpoint, job, held)
                else:
                    endpoint.state.store.read_pieces(job)
                    self._answer(request, early)
        finally:
            job.followed = False
            endpoint.signals.wake(f"room {job.id}")

    def _ended(self, job: Job) -> openai_response.OpenAIAnswer:
        if not job.terminal:
            return openai_response.of_expired_wait(
                job, self._options.wait_expiry_status, sort_keys=self._options.sort_keys
            )
        return openai_response.of_ended(job, sort_keys=self._options.sort_keys)

    def _answer(self, request: GatewayRequest, answer: openai_response.OpenAIAnswer) -> None:
        if answer.metadata:
            request.extra_headers.append((b"metadata", answer.metadata))
        request.answer(answer.status, answer.body, answer.content_type)


async def _follow(request: GatewayRequest, endpoint: EndpointRuntime, job: Job, held: HeldRequest) -> None:
    request.start_stream(EVENT_STREAM_TYPE)
    written = b""
    while await held.wait_until(lambda: bool(job.pieces) or job.terminal or _is_abandoned(endpoint, job)):
        if not job.pieces:
            break
        written = "".join(map(_text, endpoint.state.store.read_pieces(job))).encode(errors="replace")
        endpoint.signals.wake(f"room {job.id}")
        await request.write(written)
    await request.write(_closing_event(job, written), more=False)


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _check_content_type(request: GatewayRequest) -> None:
    """Raises the error with which vLLM 0.32 refuses a body that is not declared as JSON.

    Source: `validate_json_request` (vllm/entrypoints/serve/utils/api_utils.py), which every JSON route depends on. A
    multipart form has an error of its own, raised when the body is read.
    """
    media_type = request.header(b"content-type").lower().partition(";")[0]
    if media_type != "application/json" and not is_multipart(media_type):
        raise EngineReportedError(400, UNSUPPORTED_MEDIA_TYPE)


def _request_id(request: GatewayRequest) -> bytes:
    """The client's `x-request-id`; empty when it is absent, too long, or not visible ASCII."""
    given = request.headers.get(b"x-request-id", b"")
    return given if len(given) <= LONGEST_REQUEST_ID and VISIBLE.issuperset(given) else b""


def _is_abandoned(endpoint: EndpointRuntime, job: Job) -> bool:
    return endpoint.closing or endpoint.state.store.find(job.id) is not job


def _closing_event(job: Job, written: bytes) -> bytes:
    """The error event for a stream that the worker did not terminate; empty for a terminated one."""
    if job.status is Status.COMPLETED or openai_response.is_terminated(written):
        return b""
    return openai_response.error_event(
        job.error or f'job "{job.id}" is {job.status}: the gateway no longer waits for it'
    )
