"""Hostile requests in volume: no path, method, header or body gets past the guard of http mode."""

from __future__ import annotations

import asyncio
import json
import random
import string
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.asgi import RecordingApp, Reply, call, scope_of
from tests.support.core import Core
from tests.web.test_media_policy import NoEngine
from tests.web.test_reverse_proxy import ASK, CHAT, echo_behind
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.request.routes import DATA_ROUTES
from worker_vllm.settings.types import Settings
from worker_vllm.web.asgi import Message
from worker_vllm.web.guard import HEALTH_PATHS, RequestGuard
from worker_vllm.web.guard_settings import GuardSettings, digest
from worker_vllm.web.request_body import BodyMemory, LimitedBody

SEED, COUNT = 20_261, 11_000
OPEN = GuardSettings()
PATHS = {route.path: route.method for route in DATA_ROUTES}
ADMIN = (
    *("/metrics", "/version", "/load", "/docs", "/openapi.json", "/redoc", "/server_info", "/invocations", "/sleep"),
    *(
        "/wake_up",
        "/reset_prefix_cache",
        "/collective_rpc",
        "/pause",
        "/resume",
        "/update_weights",
        "/abort_requests",
    ),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/tokenizer_info", "/v1/responses/abc", "/v1/realtime"),
    *("/inference/v1/generate", "/is_sleeping", "/scale_elastic_ep", "/start_profile", "/..", "/", "", "*"),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "CONNECT", "get", "post", "X" * 300)


def spellings(path: str, rng: random.Random) -> Iterator[str]:
    """Other spellings of a path that a server or a proxy may read as the path itself."""
    at = rng.randrange(1, max(2, len(path)))
    yield path[:at] + f"%{ord(path[at : at + 1] or '/'):02x}" + path[at + 1 :]
    yield path[:at] + f"%25{ord(path[at : at + 1] or '/'):02X}" + path[at + 1 :]
    yield from (path + "/", "/" + path, path.upper(), path + ";a=b", path + "%00", path + "\x00", path + ".")
    yield from (
        path + "/..",
        "/x/.." + path,
        "/./" + path.lstrip("/"),
        path.replace("/", "//"),
        path + "%20",
        path + " ",
    )
    yield from (path.replace("/", "\\"), path.replace("/", "%2f"), path.replace("/", "%5c"), path + "#f", path + "?")
    yield from (
        f"http://x{path}",
        f"//x{path}",
        path + "\t",
        path + "\r\nX: y",
        path.replace("o", "о"),
        path + "%c0%af",
    )


async def test_no_spelling_of_any_path_reaches_the_application() -> None:
    rng = random.Random(SEED)
    guard, app = RequestGuard(recorder := RecordingApp(b'{"data":[]}'), OPEN), recorder
    open_paths = {*PATHS, *HEALTH_PATHS}
    passed = 0
    known = [*PATHS, *ADMIN, *HEALTH_PATHS]
    for _ in range(COUNT):
        exact = rng.random() < 0.2
        path = rng.choice(known if exact else [*spellings(rng.choice(known), rng), noise(rng)])
        method = rng.choice(METHODS)
        raw: dict[str, Any] = {} if rng.random() < 0.8 else {"raw_path": (path + "%2e").encode("utf-8", "replace")}
        reply = await call(guard, method, path, b"{}", **raw)
        if raw or path not in open_paths:
            assert reply.status == 404, (method, path)
        elif path in PATHS:
            assert reply.status == (200 if method == PATHS[path] else 405), (method, path)
            passed += reply.status == 200
        assert reply.status < 500
    assert passed > 50
    assert len([seen for seen in app.seen if seen.path != "/health"]) == passed
    assert {(seen.method, seen.path) for seen in app.seen} <= {
        *((m, p) for p, m in PATHS.items()),
        ("GET", "/health"),
    }


def noise(rng: random.Random) -> str:
    return "/" + "".join(rng.choice(string.printable + "é\x7f中") for _ in range(rng.randrange(60)))


HOSTILE_HEADERS = (
    *(b"authorization", b"x-api-key", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type"),
    *(b"x-request-id", b"x-forwarded-for", b"forwarded", b"host", b"x-original-url", b"x-rewrite-url", b"expect"),
    *(b"x-http-method-override", b"connection", b"upgrade", b"cookie", b"origin"),
)


async def test_no_spelling_of_any_path_reaches_the_engine_of_a_queue_worker() -> None:
    rng = random.Random(SEED)
    queue = Core(JobHandler(NoEngine(), Settings()))
    known = [*PATHS, *ADMIN, *HEALTH_PATHS]
    for _ in range(COUNT):
        path = rng.choice([*spellings(rng.choice(known), rng), noise(rng), rng.choice(ADMIN)])
        if path not in PATHS:
            result = await queue.run({"openai_route": path or "/", "openai_input": {}, "method": rng.choice(METHODS)})
            assert result.failure["code"] == 404, path


async def test_no_header_opens_a_locked_endpoint() -> None:
    rng = random.Random(SEED)
    key = "right-key-of-this-endpoint"
    guard = RequestGuard(app := RecordingApp(), replace(OPEN, key_digests=(digest(key),), trust_unix=True))
    for _ in range(COUNT):
        headers = [(rng.choice(HOSTILE_HEADERS), hostile_value(rng, key)) for _ in range(rng.randrange(6))]
        reply = await call(guard, "POST", rng.choice(list(PATHS)), b"{}", headers)
        assert reply.status in (401, 405), headers
        assert key not in reply.body.decode()
    assert app.seen == []


def hostile_value(rng: random.Random, key: str) -> bytes:
    guess = rng.choice((key[:-1], key + "x", key.upper(), key[::-1], "", "*", "null", key[: rng.randrange(len(key))]))
    noise_bytes = bytes(rng.randrange(256) for _ in range(rng.randrange(40)))
    values = (
        f"Bearer {guess}",
        f"Bearer  {guess}",
        guess,
        f"Basic {key}",
        "127.0.0.1",
        "::1",
        "/v1/models",
        "GET",
        "-1",
    )
    return rng.choice([*(value.encode() for value in values), noise_bytes, b"Bearer " + noise_bytes])


async def test_no_body_makes_the_guard_fail() -> None:
    """Whatever the bytes are, the guard answers 200 or a 4xx, and what passes is JSON as the client sent it."""
    rng = random.Random(SEED)
    guard = RequestGuard(app := RecordingApp(), OPEN)
    posts = [path for path, method in PATHS.items() if method == "POST" and "transcr" not in path]
    for number in range(COUNT):
        body = json.dumps(hostile_json(rng, 0)).encode() if number % 2 else mutated(rng)
        before = len(app.seen)
        reply = await call(guard, "POST", rng.choice(posts), body)
        assert reply.status in (200, 400, 413), body
        if reply.status == 200:
            assert app.seen[before].body == body
        else:
            assert len(app.seen) == before


KEYS = (
    *("messages", "content", "type", "image_url", "url", "source", "prompt", "n", "best_of", "logprobs", "tools"),
    *("stop", "input", "response_format", "structured_outputs", "guided_json", "chat_template_kwargs", "function"),
    *("documents", "model", "stream", "metadata", "video_url", "text", "tool_choice"),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    10**30,
    "",
    "data:,",
    "http://169.254.169.254/",
    "\ud800",
    [],
    {},
    "x" * 100,
)


def hostile_json(rng: random.Random, depth: int) -> Any:
    if depth > 5 or rng.random() < 0.3:
        return rng.choice(VALUES)
    if rng.random() < 0.4:
        return [hostile_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): hostile_json(rng, depth + 1) for _ in range(rng.randrange(6))}


def mutated(rng: random.Random) -> bytes:
    body = bytearray(json.dumps(ASK).encode())
    for _ in range(rng.randrange(1, 6)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


async def test_a_slow_body_ends_with_408_and_frees_its_place() -> None:
    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    body = LimitedBody(never, 100, timeout_s=0.05)
    assert await body.receive() == {"type": "http.disconnect"}
    assert body.refusal is not None
    assert body.refusal.status == 408
    assert await body.receive() == {"type": "http.disconnect"}


async def test_slow_clients_occupy_no_place_and_bounded_memory() -> None:
    guard = RequestGuard(app := RecordingApp(), replace(OPEN, max_concurrency=2, max_body_bytes=1000))
    guard._memory = BodyMemory(1000, 0)
    stop = asyncio.Event()

    async def slow(size: int) -> Reply:
        pieces = [b"x" * size]
        reply = Reply()

        async def receive() -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": True}
            await stop.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            reply.status = message.get("status", reply.status)

        await guard(scope_of("POST", CHAT), receive, send)
        return reply

    slow_ones = [asyncio.create_task(slow(200)) for _ in range(4)]
    await asyncio.sleep(0)
    assert (await call(guard, "POST", CHAT, ASK)).status == 200
    assert (await slow(300)).status == 429
    assert (await call(guard, "POST", CHAT, b" " * 201 + b"{}")).status == 429
    stop.set()
    assert [(await one).status for one in slow_ones] == [0, 0, 0, 0]
    assert (await call(guard, "POST", CHAT, b" " * 990 + b"{}")).status == 200
    assert len(app.seen) == 2


async def test_hostile_requests_over_real_sockets_leave_the_engine_well() -> None:
    """A few hundred raw requests, some of them broken: each is answered or closed, and good ones still pass."""
    rng = random.Random(SEED)
    async with echo_behind() as (engine, http):
        host, _, port = http.url.removeprefix("http://").partition(":")
        for number in range(300):
            await hostile_connection(rng, host, int(port))
            if number % 50 == 0:
                assert (await http.post(CHAT, ASK)).status == 200
        asked = await engine.requests()
        assert {request["path"] for request in asked} <= {CHAT}
        await engine.until(running=0)


async def hostile_connection(rng: random.Random, host: str, port: int) -> None:
    target = rng.choice([*spellings(rng.choice([*PATHS, *ADMIN]), rng), *ADMIN, noise(rng)])
    body = mutated(rng)
    smuggled = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    framing = rng.choice(
        (
            b"Content-Length: %d" % len(body),
            b"Content-Length: 1\r\nContent-Length: %d" % len(body),
            b"Content-Length: %d\r\nTransfer-Encoding: chunked" % len(body),
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding : chunked",
            b"Content-Length: -1",
            b"X: " + b"a" * 70_000,
        )
    )
    head = f"{rng.choice(METHODS)} {target} HTTP/1.1\r\nHost: x\r\n".encode("utf-8", "replace")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(head + framing + b"\r\n\r\n" + body + smuggled)
        writer.write_eof()
        answer = await reader.read()
        assert b"vllm:" not in answer
        statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
        assert not [status for status in statuses if status.startswith(b"5")], (head, framing, answer[:300])
    except ConnectionError:
        pass
    finally:
        writer.close()


async def test_canary_keys_appear_in_no_answer_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    canary = "canary-key-7f3a"
    guard = RequestGuard(RecordingApp(), replace(OPEN, key_digests=(digest(canary),)))
    headers = [(b"authorization", f"Bearer {canary}".encode())]
    caplog.set_level("DEBUG")
    for path, body in ((CHAT, b"{"), ("/metrics", b""), (CHAT, ASK), ("/v1/messages", {"best_of": 2})):
        reply = await call(guard, "POST", path, body, headers)
        assert canary not in json.dumps(reply.headers) + reply.body.decode()
    wrong = await call(guard, "POST", CHAT, ASK, [(b"authorization", b"Bearer canary-wrong")])
    assert "canary" not in wrong.body.decode()
    assert "canary" not in caplog.text
