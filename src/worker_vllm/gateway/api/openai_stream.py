"""The response of an OpenAI route that streams: a job's pieces as they arrive, or the error that came before any."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker_vllm.gateway.api import openai_response
from worker_vllm.gateway.options import GatewayOptions
from worker_vllm.gateway.runtime import EndpointRuntime
from worker_vllm.gateway.server.request import ClientDisconnected, GatewayRequest
from worker_vllm.gateway.server.response import EVENT_STREAM_TYPE, GatewayResponse
from worker_vllm.gateway.state.job import Job, Status
from worker_vllm.gateway.waits import HeldRequest

HEADERS = ((b"content-type", EVENT_STREAM_TYPE), (b"cache-control", b"no-cache"))


class FollowedStream(Response):
    """Sends the headers with the first piece, so that a stream that fails at once gets the error's status.

    Starlette's StreamingResponse cannot be used: it sends the headers first, and starts a task group per response.
    """

    def __init__(self, request: GatewayRequest, endpoint: EndpointRuntime, job: Job, options: GatewayOptions) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = []  # in addition to those of the stream or of the error
        self._request = request
        self._endpoint = endpoint
        self._job = job
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. Raises ClientDisconnected."""
        job, endpoint = self._job, self._endpoint
        longest_s = self._options.waits.openai_stream_s
        job.followed = True
        try:
            with HeldRequest(self._request, endpoint.signals, job.id, longest_s) as held:
                await held.wait_until(self._has_news)
                early = self._early()
                if early is None:
                    await self._follow(held, send)
                    return
                endpoint.state.store.read_pieces(job)
            early.raw_headers += self.raw_headers
            await early(scope, receive, send)
        except ClientDisconnected:
            on_disconnect(endpoint, job, self._options)
            raise
        finally:
            job.followed = False
            endpoint.signals.wake(f"room {job.id}")

    def _has_news(self) -> bool:
        return bool(self._job.pieces) or self._job.terminal or is_abandoned(self._endpoint, self._job)

    def _early(self) -> GatewayResponse | None:
        if not self._job.pieces:
            return ended_answer(self._job, self._options)
        answer = openai_response.of_error_event(self._job.pieces[0].output)
        return None if answer is None else as_answer(answer)

    async def _follow(self, held: HeldRequest, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *self.raw_headers]})
        written = b""
        while await held.wait_until(self._has_news) and self._job.pieces:
            pieces = self._endpoint.state.store.read_pieces(self._job)
            written = "".join(map(_text, pieces)).encode(errors="replace")
            self._endpoint.signals.wake(f"room {self._job.id}")
            await send({"type": "http.response.body", "body": written, "more_body": True})
        await send({"type": "http.response.body", "body": _closing_event(self._job, written)})


def is_abandoned(endpoint: EndpointRuntime, job: Job) -> bool:
    """Whether the gateway stops, or has deleted the job, so that nobody should wait for it."""
    return endpoint.closing or endpoint.state.store.find(job.id) is not job


def on_disconnect(endpoint: EndpointRuntime, job: Job, options: GatewayOptions) -> None:
    """Cancel the job of a client that disconnected, if the options say so."""
    if options.cancel_on_disconnect and endpoint.state.store.find(job.id) is job:
        endpoint.perform(endpoint.state.store.cancel(job.id, endpoint.clock()))


def ended_answer(job: Job, options: GatewayOptions) -> GatewayResponse:
    """The response for an ended job of which nothing was sent, or for one that was waited for long enough."""
    if not job.terminal:
        status = options.wait_expiry_status
        return as_answer(openai_response.of_expired_wait(job, status, sort_keys=options.sort_keys))
    return as_answer(openai_response.of_ended(job, sort_keys=options.sort_keys))


def as_answer(answer: openai_response.OpenAIAnswer) -> GatewayResponse:
    """The HTTP response of an answer."""
    metadata = [(b"metadata", answer.metadata)] if answer.metadata else []
    return GatewayResponse(answer.status, answer.body, answer.content_type, metadata)


def _text(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)


def _closing_event(job: Job, written: bytes) -> bytes:
    """The error event for a stream that the worker did not terminate; empty for a terminated one."""
    if job.status is Status.COMPLETED or openai_response.is_terminated(written):
        return b""
    return openai_response.error_event(
        job.error or f'job "{job.id}" is {job.status}: the gateway no longer waits for it'
    )
