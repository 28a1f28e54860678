"""Forwards one WebSocket to a worker: messages both ways, one at a time, and the close code of either side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import aiohttp
from starlette.types import Message, Receive, Scope, Send
from yarl import URL

from worker_vllm.forwarding.passed_headers import request_headers
from worker_vllm.gateway.load_balancing import edge_answers
from worker_vllm.gateway.load_balancing.affinity import HEADER, read_affinity
from worker_vllm.gateway.load_balancing.balancer import LoadBalancer
from worker_vllm.gateway.load_balancing.edge_answers import EdgeAnswer
from worker_vllm.gateway.load_balancing.http_forwarding import KEY, WorkerRefused, refusal
from worker_vllm.gateway.load_balancing.pool import PooledWorker

log = logging.getLogger(__name__)

NORMAL = 1000
GOING_AWAY = 1001
ABNORMAL = 1011
BAD_REQUEST = 400
BAD_GATEWAY = 502
# Of the handshake between client and gateway; aiohttp makes its own with the worker.
HANDSHAKE = (
    *(b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-protocol"),
    *(b"accept-encoding", b"content-length"),
)


class WebSocketForwarding:
    """One WebSocket on its way; `target` is the path and query that the worker gets."""

    def __init__(self, balancer: LoadBalancer, target: str, scope: Scope, receive: Receive, send: Send) -> None:
        self._balancer = balancer
        self._target = target
        self._headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        self._protocols: Sequence[str] = scope.get("subprotocols", ())
        self._can_answer = "websocket.http.response" in scope.get("extensions", {})
        self._receive = receive
        self._send = send

    async def run(self) -> None:
        """Connect the client with a worker until one of them closes; before that, an EdgeAnswer denies it."""
        await self._receive()  # websocket.connect
        affinity = read_affinity(self._headers)
        try:
            while True:
                async with self._balancer.assigned(affinity) as worker:
                    try:
                        upstream = await self._connect(worker)
                    except WorkerRefused:  # it is out of the pool now
                        continue
                    return await self._serve(worker, upstream)
        except EdgeAnswer as edge:
            await self._deny(edge)

    async def _connect(self, worker: PooledWorker) -> aiohttp.ClientWebSocketResponse:
        try:
            return await self._balancer.session.ws_connect(
                URL(worker.address.requests + self._target, encoded=True),
                protocols=self._protocols,
                headers=self._request_headers(worker),
                max_msg_size=self._balancer.options.body_bytes,
            )
        except aiohttp.WSServerHandshakeError as refused:
            status = refused.status if refused.status >= BAD_REQUEST else BAD_GATEWAY
            raise EdgeAnswer(status, f'worker "{worker.id}" answered {refused.status}, not a WebSocket') from refused
        except aiohttp.ClientConnectorError as error:
            raise await refusal(self._balancer, worker, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise edge_answers.worker_lost(worker.id, str(error)) from error

    async def _serve(self, worker: PooledWorker, upstream: aiohttp.ClientWebSocketResponse) -> None:
        try:
            accept = {"type": "websocket.accept", "subprotocol": upstream.protocol}
            await self._send({**accept, "headers": [(HEADER, worker.id.encode())]})
            await self._relay(upstream)
        except OSError as error:  # the client has gone
            log.debug("a WebSocket of worker %s ended: %s", worker.id, error)
        finally:
            await upstream.close(code=GOING_AWAY)

    async def _relay(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        tasks = {asyncio.ensure_future(self._to_worker(upstream)), asyncio.ensure_future(self._to_client(upstream))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _to_worker(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            try:
                await _pass_on(message, upstream)
            except (aiohttp.ClientError, ConnectionError):
                return await self._close(ABNORMAL)
        await upstream.close(code=message.get("code") or NORMAL)

    async def _to_client(self, upstream: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            message = await upstream.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._send({"type": "websocket.send", "text": message.data})
            elif message.type is aiohttp.WSMsgType.BINARY:
                await self._send({"type": "websocket.send", "bytes": message.data})
            else:
                closed = message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING)
                return await self._close(upstream.close_code if closed and upstream.close_code else ABNORMAL)

    async def _close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": code if code != 1006 else ABNORMAL})

    async def _deny(self, edge: EdgeAnswer) -> None:
        if not self._can_answer:
            return await self._send({"type": "websocket.close", "code": ABNORMAL})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(edge.body)).encode())]
        await self._send({"type": "websocket.http.response.start", "status": edge.status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": edge.body})

    def _request_headers(self, worker: PooledWorker) -> dict[str, str]:
        headers = dict(request_headers(self._headers, KEY, HEADER, *HANDSHAKE))
        headers.pop("Accept-Encoding", None)
        if worker.address.key:
            headers["Authorization"] = f"Bearer {worker.address.key}"
        return headers


async def _pass_on(message: Message, upstream: aiohttp.ClientWebSocketResponse) -> None:
    if message.get("text") is not None:
        await upstream.send_str(message["text"])
    else:
        await upstream.send_bytes(message.get("bytes") or b"")
