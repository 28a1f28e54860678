"""The reverse proxy behind the guard, on real sockets, with the echo engine as the other server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from tests.support.asgi import RecordingApp, serving
from tests.support.engines.echo import EchoEngine, echo_engine
from tests.support.http import Http, parse_events
from tests.support.http_mode import http_worker
from worker_vllm.web.asgi import Receive, Scope, Send
from worker_vllm.web.guard_settings import GuardSettings, digest
from worker_vllm.web.reverse_proxy import guarded_proxy, server_config

CHAT = "/v1/chat/completions"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 3}
STREAM = {**ASK, "stream": True}
OPEN = GuardSettings()
MIB = 1 << 20


@contextlib.asynccontextmanager
async def front(url: str, settings: GuardSettings = OPEN) -> AsyncIterator[str]:
    """The address of a guarded reverse proxy in front of a server."""
    async with guarded_proxy(url, settings) as app, serving(server_config(app)) as address:
        yield address


@contextlib.asynccontextmanager
async def echo_behind(settings: GuardSettings = OPEN, **options: Any) -> AsyncIterator[tuple[EchoEngine, Http]]:
    """An echo engine, and a client of the reverse proxy in front of it."""
    async with echo_engine(**options) as engine, front(engine.url, settings) as address, Http(address) as http:
        yield engine, http


@contextlib.asynccontextmanager
async def app_behind(app: Any) -> AsyncIterator[Http]:
    """A client of the reverse proxy in front of an ASGI application on a TCP port."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    async with serving(config) as upstream, front(upstream) as address, Http(address) as http:
        yield http


async def test_answers_and_streams_are_those_of_the_server() -> None:
    async with echo_behind() as (engine, http):
        direct, proxied = await engine.http.post(CHAT, ASK), await http.post(CHAT, ASK)
        assert proxied.json["choices"] == direct.json["choices"]
        shown = [
            [event if event == "[DONE]" else event["choices"] for event in await one.events(CHAT, STREAM)]
            for one in (engine.http, http)
        ]
        assert shown[0] == shown[1]
        assert (await http.get("/v1/models")).json["data"][0]["id"] == "echo"
        assert (await http.get("/ping")).status == 200
        assert (await http.get("/metrics")).status == 404
        wrong = await http.post(CHAT, {**ASK, "model": "other"})
        assert (wrong.status, wrong.json) == (404, (await engine.http.post(CHAT, {**ASK, "model": "other"})).json)


async def test_each_token_arrives_when_the_engine_makes_it() -> None:
    async with echo_behind() as (engine, http):
        await engine.script({"gate": "g"})
        async with http.open("POST", CHAT, STREAM) as answer:
            for _ in range(3):
                await engine.control("release", {"gate": "g", "tokens": 1})
                assert b"data: " in await answer.content.readuntil(b"\n\n")


async def test_a_client_that_leaves_aborts_its_request_in_the_engine() -> None:
    async with echo_behind() as (engine, http):
        for body in (STREAM, ASK):
            await engine.script({"hang_after": 1})
            asking = asyncio.create_task(http.post(CHAT, body))
            await engine.until(running=1)
            asking.cancel()
            await engine.until(running=0)


async def test_the_keys_of_clients_do_not_reach_the_server_and_other_headers_do() -> None:
    app = RecordingApp(headers=((b"x-kept", b"1"), (b"content-type", b"application/json"), (b"connection", b"close")))
    settings = GuardSettings(key_digests=(digest("right-key"),))
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    sent = {"Authorization": "Bearer right-key", "X-Own": "2", "TE": "trailers", "Connection": "x-hop", "X-Hop": "3"}
    async with serving(config) as upstream, front(upstream, settings) as address, Http(address, sent) as http:
        answer = await http.post(CHAT, ASK)
        assert (answer.status, answer.headers["x-kept"]) == (200, "1")
        [seen] = app.seen
        assert seen.headers["x-own"] == "2"
        assert seen.headers["x-request-id"] == answer.headers["x-request-id"]
        assert not set(seen.headers) & {"authorization", "te", "x-hop"}
        assert seen.headers["host"] == upstream.removeprefix("http://")


async def test_a_server_that_does_not_answer_is_a_503_that_names_no_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with front(f"http://127.0.0.1:{port}") as address, Http(address) as http:
        answer = await http.post(CHAT, ASK)
        assert answer.status == 503
        assert str(port) not in answer.body.decode()
        assert (await http.get("/v1/models")).status == 503


async def test_a_slow_reader_stops_the_server_from_sending() -> None:
    sent, gate = 0, asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * MIB, "more_body": True})
            sent += 1
            gate.set()
        await send({"type": "http.response.body", "body": b""})

    async with app_behind(app) as http, http.open("POST", CHAT, ASK) as answer:
        await gate.wait()
        before = -1
        while before != sent:  # until the server makes no progress for a while
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 32
        assert len(await answer.read()) == 64 * MIB
        assert sent == 64


async def test_a_slow_server_stops_the_client_from_sending() -> None:
    size = 24 * MIB
    read_on, total = asyncio.Event(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal total
        await read_on.wait()
        more = True
        while more:
            message = await receive()
            total += len(message.get("body", b""))
            more = message.get("more_body", False)
        await RecordingApp()(scope, _nothing, send)

    taken = 0

    async def upload() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(size // MIB):
            yield b"x" * MIB
            taken += 1

    async with app_behind(app) as http:
        assert http._session is not None
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        url = f"{http.url}/v1/audio/transcriptions"
        asking = asyncio.ensure_future(http._session.post(url, data=upload(), headers=headers))
        before = -1
        while before != taken or not taken:
            before = taken
            await asyncio.sleep(0.2)
        assert taken < size // MIB
        read_on.set()
        answer = await asking
        assert (answer.status, total) == (200, size)
        answer.release()


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}


async def test_a_response_that_breaks_off_breaks_off_for_the_client() -> None:
    async with echo_behind() as (engine, http):
        await engine.script({"disconnect_after": 1})
        async with http.open("POST", CHAT, STREAM) as answer:
            broken = False
            try:
                await answer.read()
            except Exception:
                broken = True
            assert broken


async def test_chunked_and_compressed_bodies_and_pipelined_requests_over_a_raw_socket() -> None:
    async with echo_behind() as (engine, http):
        host, _, port = http.url.removeprefix("http://").partition(":")
        body = json.dumps(ASK).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        plain = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for request, statuses in (
            (chunked + plain, [200, 200]),
            (head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + plain, [400]),
            (head + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", [415]),
        ):
            assert await _statuses(host, int(port), request, len(statuses)) == statuses
        assert len(await engine.requests()) == 2


async def _statuses(host: str, port: int, request: bytes, count: int) -> list[int]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        received = b""
        while received.count(b"HTTP/1.1 ") < count or not received.endswith((b"}", b"\r\n\r\n")):
            piece = await reader.read(65536)
            if not piece:
                break
            received += piece
        return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    finally:
        writer.close()


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_stop_lets_a_running_stream_finish_and_answers_503_meanwhile(apart: bool) -> None:
    async with echo_engine() as engine:
        await engine.script({"gate": "g"})
        with http_worker({"ENGINE_URL": engine.url}, apart=apart) as worker:
            await worker.listening()
            asking = asyncio.create_task(worker.post(CHAT, STREAM))
            await engine.until(running=1)
            worker.process.signal(signal.SIGTERM)
            stopping = await worker.until(503)
            assert stopping.json["status"] == "draining"
            refused = await worker.post(CHAT, ASK)
            assert (refused.status, refused.json["error"]["code"]) == (503, 503)
            assert int(refused.headers["retry-after"]) >= 1
            await engine.control("release", {"gate": "g", "tokens": 3})
            assert b"data: [DONE]" in (await asking).body
            assert await asyncio.to_thread(worker.process.exit_code) == 0


@pytest.mark.parametrize("apart", [False, True], ids=["one port", "two ports"])
async def test_a_worker_with_engine_url_guards_that_server_until_it_is_stopped(apart: bool) -> None:
    async with echo_engine() as engine:
        env = {"ENGINE_URL": engine.url, "API_KEY": "right-key", "HEALTH_CHECK_PATH": "/up"}
        with http_worker(env, apart=apart) as worker:
            await worker.listening()
            assert (await worker.get("/up")).status == 200
            assert (await worker.post(CHAT, ASK)).status == 401
            async with Http(f"http://127.0.0.1:{worker.port}", {"Authorization": "Bearer right-key"}) as http:
                assert (await http.post(CHAT, ASK)).status == 200
                assert (await http.get("/metrics")).status == 404
            worker.process.signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.exit_code) == 0


async def test_ranked_sequences_come_as_an_answer_and_as_a_stream() -> None:
    async with echo_behind(GuardSettings(translate=True, served_name="echo")) as (engine, http):
        answer = await http.post(CHAT, {**ASK, "best_of": 3, "n": 2})
        assert [choice["index"] for choice in answer.json["choices"]] == [0, 1]
        assert answer.json["choices"][0]["logprobs"] is None
        stream = await http.post(CHAT, {**STREAM, "best_of": 3})
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert parse_events(stream.body)[-1] == "[DONE]"
        assert [json.loads(request["body"])["n"] for request in await engine.requests()] == [3, 3]
