"""`/v2/{endpoint}/openai/…`: runs an HTTP request as a job and answers with the job's result."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response

from worker_vllm.errors import EngineReportedError, RequestError, WorkerError
from worker_vllm.gateway.api.openai_stream import FollowedStream, ended_answer, is_abandoned, on_disconnect
from worker_vllm.gateway.api.operation import Operation
from worker_vllm.gateway.api.submission import read_openai
from worker_vllm.gateway.options import GatewayOptions, GetBody
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest, is_multipart
from worker_vllm.gateway.state.job import Job
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
            *("/tokenize", "/detokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
            *("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/audio/speech"),
        ),
        "POST",
    ),
}
# Routes of which a worker may say that they are closed; what is wrong with their bodies comes after that.
OPEN = METHODS.keys() - {"/v1/load_lora_adapter", "/v1/unload_lora_adapter"}
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

        self.operations = (Operation("openai", "", "/openai{route:path}", self.forward),)

    async def forward(self, request: GatewayRequest, endpoint: EndpointRuntime) -> Response:
        """Run the request as a job; answer with the worker's body, status or stream."""
        own_id = _request_id(request)
        if own_id:
            request.extra_headers.append((b"x-request-id", own_id))
        route = request.param("route")
        _check_method(request, METHODS.get(route, "GET POST"))
        body, stream = self._read(request, route)
        job_id = f"sync-{self._new_id()}-u1"
        submission = read_openai(route, body, self._options.jobs)
        endpoint.perform(endpoint.state.store.submit(job_id, submission, endpoint.clock()))
        job = endpoint.state.store.get(job_id)
        names = (b"x-job-id",) if own_id else (b"x-job-id", b"x-request-id")
        request.extra_headers += [(name, job_id.encode()) for name in names]
        if not stream:
            return await self._whole(request, endpoint, job)
        return FollowedStream(request, endpoint, job, self._options)

    def _read(self, request: GatewayRequest, route: str) -> tuple[bytes | None, bool]:
        if request.method == "GET":
            return GET_BODIES[self._options.get_body], False
        limit = self._options.limits.runsync_bytes
        if route not in OPEN and not _is_json(request, limit):
            return None, False  # the worker answers, which knows whether the route exists
        _check_content_type(request)
        payload = request.json(limit)
        return request.json_text(limit), isinstance(payload, dict) and bool(payload.get("stream"))

    async def _whole(self, request: GatewayRequest, endpoint: EndpointRuntime, job: Job) -> Response:
        try:
            with HeldRequest(request, endpoint.signals, job.id, self._options.waits.openai_s) as held:
                await held.wait_until(lambda: job.terminal or is_abandoned(endpoint, job))
        except ClientDisconnected:
            on_disconnect(endpoint, job, self._options)
            raise
        return ended_answer(job, self._options)


def _check_content_type(request: GatewayRequest) -> None:
    """Raises the error with which vLLM 0.32 refuses a body that is not declared as JSON.

    Source: `validate_json_request` (vllm/entrypoints/serve/utils/api_utils.py), which every JSON route depends on. A
    multipart form has an error of its own, raised when the body is read.
    """
    media_type = request.header(b"content-type").lower().partition(";")[0]
    if media_type != "application/json" and not is_multipart(media_type):
        raise EngineReportedError(400, UNSUPPORTED_MEDIA_TYPE)


def _is_json(request: GatewayRequest, limit: int) -> bool:
    try:
        _check_content_type(request)
        request.json(limit)
    except WorkerError:
        return False
    return True


def _request_id(request: GatewayRequest) -> bytes:
    """The client's `x-request-id`; empty when it is absent, too long, or not visible ASCII."""
    given = request.headers.get(b"x-request-id", b"")
    return given if len(given) <= LONGEST_REQUEST_ID and VISIBLE.issuperset(given) else b""


def _check_method(request: GatewayRequest, methods: str) -> None:
    if request.method not in methods.split():
        request.extra_headers.append((b"allow", methods.replace(" ", ", ").encode()))
        raise RequestError(f"{request.method} {request.path}: expected {methods.replace(' ', ' or ')}", status=405)
