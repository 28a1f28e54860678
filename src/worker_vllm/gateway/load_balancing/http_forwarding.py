"""Forwards one HTTP request to a worker: both directions streamed, with backpressure, aborted when the client goes.

A worker that is lost before it answered costs the client nothing if the body is held: the request is sent to another.
A response that has started is never repeated; its connection is closed, so that the client sees that it is broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send
from yarl import URL

from worker_vllm.forwarding.passed_headers import has_body, request_headers, response_headers, values_of
from worker_vllm.forwarding.request_stream import ClientGone, RequestStream
from worker_vllm.gateway.load_balancing import edge_answers
from worker_vllm.gateway.load_balancing.affinity import HEADER, read_affinity
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.edge_answers import EdgeAnswer, ResponseCut
from worker_vllm.gateway.load_balancing.forwarded_request import ForwardedRequest
from worker_vllm.gateway.load_balancing.pool import HEALTHY, PooledWorker

log = logging.getLogger(__name__)

KEY = b"authorization"  # the platform's key is for the edge alone


class WorkerLost(Exception):
    """The worker ended the connection before its response started."""


class WorkerRefused(Exception):
    """The worker accepted no connection."""


@dataclass(slots=True)
class EdgeReply:
    """The response to the client; knows whether it has started."""

    send: Send
    started: bool = False

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send status and headers."""
        self.started = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of the body; waits while the client's connection is full."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, edge: EdgeAnswer) -> None:
        """Send an answer of our own."""
        length = str(len(edge.body)).encode()
        await self.start(edge.status, [(b"content-type", b"application/json"), (b"content-length", length)])
        await self.piece(edge.body, more=False)


class HttpForwarding:
    """One request on its way; `target` is the path and query that the worker gets."""

    def __init__(self, balancer: LoadBalancer, target: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._balancer = balancer
        self._options = balancer.options
        self._target = target
        self._method: str = scope["method"]
        self._headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self._stream = RequestStream(receive)
        self._reply = EdgeReply(send)
        self._seen = ForwardedRequest(target, balancer.clock())
        self._held: bytes | None = None  # the whole body, where it is small enough
        self._streamed = False  # a piece of a body that is not held has been taken
        self._oversized = False

    async def run(self) -> None:
        """Serve the request. Returns early when the client has gone, and where a response could only be cut."""
        serving = asyncio.ensure_future(self._serve())
        watching = asyncio.ensure_future(self._stream.disconnected())
        try:
            await asyncio.wait({serving, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (serving, watching):
                task.cancel()
            await asyncio.wait({serving, watching})
        if serving.cancelled():
            self._balancer.observe(self._seen)
            return
        try:
            serving.result()
        except EdgeAnswer as edge:
            self._seen.answered(edge.status, edge.body)
            await self._reply.answer(edge)
        except ResponseCut as cut:  # without its last message the server closes the connection
            self._seen.cut_off(str(cut))
            log.warning("%s %s: %s", self._method, self._target, cut)
        except ClientGone:
            return
        finally:
            self._balancer.observe(self._seen)

    async def _serve(self) -> None:
        await self._hold_body()
        affinity = read_affinity(self._headers)
        resends = self._options.resends
        while True:
            async with self._balancer.assigned(affinity) as worker:
                self._seen.assigned_to(worker.id, self._balancer.clock())
                try:
                    return await self._attempt(worker)
                except WorkerRefused:  # it has seen nothing of the request, and is out of the pool now
                    continue
                except WorkerLost as lost:
                    await self._balancer.probe(worker)
                    if self._streamed or not resends:
                        raise edge_answers.worker_lost(worker.id, str(lost)) from lost
                    resends -= 1
                    log.warning("worker %s was lost with a request; it is sent again: %s", worker.id, lost)

    async def _hold_body(self) -> None:
        """Read a small body whole; a larger one, or one of unknown length, is streamed."""
        if not has_body(self._headers):
            self._held = b""
            self._stream.discard()
            return
        length = next((int(value) for value in values_of(self._headers, b"content-length")), None)
        if length is not None and length > self._options.body_bytes:
            self._stream.discard()
            raise edge_answers.too_large("request", self._options.body_bytes)
        if length is not None and length <= self._options.held_bytes:
            self._held = b"".join([piece async for piece in self._stream.pieces()])

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        total = 0
        async for piece in self._stream.pieces():
            self._streamed = True
            total += len(piece)
            if total > self._options.body_bytes:
                self._oversized = True
                raise ValueError("too large")
            yield piece

    async def _attempt(self, worker: PooledWorker) -> None:
        try:
            async with asyncio.timeout(self._options.request_s):
                response = await self._ask(worker)
                try:
                    await self._relay(response, worker)
                finally:
                    response.close()  # an unfinished response aborts its request; a finished one is pooled already
        except TimeoutError:
            slow = edge_answers.too_slow(self._options.request_s)
            if self._reply.started:
                raise ResponseCut(str(slow)) from None
            raise slow from None

    async def _ask(self, worker: PooledWorker) -> aiohttp.ClientResponse:
        try:
            return await self._balancer.session.request(
                self._method,
                URL(worker.address.requests + self._target, encoded=True),
                data=self._pieces() if self._held is None else self._held or None,
                headers=self._request_headers(worker),
                allow_redirects=False,
            )
        except aiohttp.ClientConnectorError as error:
            raise await refusal(self._balancer, worker, error) from error
        except (aiohttp.ClientError, OSError) as error:
            if self._stream.gone:
                raise ClientGone from error
            if self._oversized:
                self._stream.discard()
                raise edge_answers.too_large("request", self._options.body_bytes) from error
            raise WorkerLost(str(error) or type(error).__name__) from error

    async def _relay(self, response: aiohttp.ClientResponse, worker: PooledWorker) -> None:
        limit = self._options.response_bytes
        if (response.content_length or 0) > limit and self._method != "HEAD":
            raise edge_answers.too_large("response", limit)
        headers = response_headers(response.raw_headers, HEADER)
        self._seen.responded(response.status, headers)
        await self._reply.start(response.status, [*headers, (HEADER, worker.id.encode())])
        total = 0
        try:
            while chunk := await response.content.readany():
                total += len(chunk)
                if total > limit:
                    raise ResponseCut(f"the response is larger than {limit} bytes")
                self._seen.piece(chunk, self._balancer.clock())
                await self._reply.piece(chunk)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise ResponseCut(f'worker "{worker.id}" ended its response before it was complete: {error}') from error
        await self._reply.piece(b"", more=False)
        self._seen.complete()

    def _request_headers(self, worker: PooledWorker) -> CIMultiDict[str]:
        """The client's headers without its key and affinity; with the worker's own key, where it has one."""
        headers = CIMultiDict(request_headers(self._headers, KEY, HEADER))
        if worker.address.key:
            headers["Authorization"] = f"Bearer {worker.address.key}"
        return headers


async def refusal(balancer: LoadBalancer, worker: PooledWorker, error: Exception) -> Exception:
    """What a refused connection means: a wrong port when the worker is healthy; else it is out of the pool now."""
    if await balancer.probe(worker) == HEALTHY:
        return edge_answers.wrong_port(worker.id, worker.address.requests)
    return WorkerRefused(str(error))
