"""The guard: what passes, what is refused and how, and what the application sees of a request that passes."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.asgi import RecordingApp, Reply, call, scope_of
from worker_vllm.jobs.request.routes import DATA_ROUTES
from worker_vllm.settings.types import RequestLimits, RequestPolicy
from worker_vllm.web.asgi import Message, Receive, Scope, Send
from worker_vllm.web.guard import RequestGuard
from worker_vllm.web.guard_settings import GuardSettings, digest

CHAT = "/v1/chat/completions"
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
OPEN = GuardSettings()


def guarded(settings: GuardSettings = OPEN, app: RecordingApp | None = None) -> tuple[RequestGuard, RecordingApp]:
    app = app or RecordingApp()
    return RequestGuard(app, settings), app


async def ask(settings: GuardSettings, body: Any, path: str = CHAT, **more: Any) -> tuple[Reply, RecordingApp]:
    guard, app = guarded(settings)
    return await call(guard, "POST", path, body, **more), app


@pytest.mark.parametrize("route", DATA_ROUTES, ids=lambda route: route.path)
async def test_every_data_route_passes_with_its_own_method_alone(route: Any) -> None:
    guard, app = guarded(app=RecordingApp(b'{"data":[]}'))
    other = "GET" if route.method == "POST" else "POST"
    refused = await call(guard, other, route.path, {})
    assert (refused.status, refused.headers["allow"], app.seen) == (405, route.method, [])
    passed = await call(guard, route.method, route.path, b"{}" if route.method == "POST" else b"")
    assert passed.status == 200
    assert [(seen.method, seen.path) for seen in app.seen] == [(route.method, route.path)]


async def test_an_unchanged_body_passes_byte_by_byte_and_the_answer_too() -> None:
    body = b' {"model": "m", "messages": [{"role":"user","content":"\\u00e9 \xc3\xa9"}], "temperature": 0.10 } '
    app = RecordingApp(b"data: 1\n\n", b"data: 2\n\n", headers=((b"content-type", b"text/event-stream"),))
    guard, _ = guarded(app=app)
    reply = await call(guard, "POST", CHAT, [body[:10], body[10:]], [(b"content-length", b"%d" % len(body))])
    assert [seen.body for seen in app.seen] == [body]
    assert reply.pieces == [b"data: 1\n\n", b"data: 2\n\n"]


REFUSED: dict[str, tuple[GuardSettings, dict[str, Any], int, str]] = {
    "a remote image": (
        *(OPEN, {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "http://x.y/a.png"}}]}]}, 400),
        "ALLOWED_MEDIA_DOMAINS",
    ),
    "a template": (OPEN, {**ASK, "chat_template": "{{ 1 }}"}, 400, "TRUST_REQUEST_CHAT_TEMPLATE"),
    "a template in kwargs": (
        *(OPEN, {**ASK, "chat_template_kwargs": {"chat_template": "x"}}, 400),
        "TRUST_REQUEST_CHAT_TEMPLATE",
    ),
    "processor kwargs": (OPEN, {**ASK, "mm_processor_kwargs": {"a": 1}}, 400, "TRUST_REQUEST_MM_KWARGS"),
    "media kwargs": (OPEN, {**ASK, "media_io_kwargs": {"a": 1}}, 400, "TRUST_REQUEST_MM_KWARGS"),
    "too many sequences": (OPEN, {**ASK, "n": 129}, 400, "MAX_N"),
    "a large schema": (
        *(replace(OPEN, limits=RequestLimits(schema_bytes=10)), {**ASK, "tools": [{"type": "function"}]}, 400),
        "MAX_SCHEMA_BYTES",
    ),
    "too many images": (
        replace(OPEN, policy=RequestPolicy(media=1)),
        {"messages": [{"content": [{"image_url": "data:,"}, {"image_url": "data:,"}]}]},
        *(400, "MAX_MEDIA"),
    ),
    "best_of": (OPEN, {**ASK, "best_of": 3}, 400, "TRANSLATE_HTTP"),
    "guided": (OPEN, {**ASK, "guided_choice": ["a"]}, 400, "TRANSLATE_HTTP"),
    "early stopping": (OPEN, {**ASK, "early_stopping": True}, 400, "TRANSLATE_HTTP"),
    "a large body": (replace(OPEN, max_body_bytes=20), ASK, 413, "MAX_BODY_BYTES"),
}


@pytest.mark.parametrize(("settings", "body", "status", "variable"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_names_the_variable_and_asks_no_engine(
    settings: GuardSettings, body: dict[str, Any], status: int, variable: str
) -> None:
    reply, app = await ask(settings, body)
    assert (reply.status, app.seen) == (status, [])
    assert variable in reply.error["message"]
    assert reply.error["code"] == status


@pytest.mark.parametrize("value", [None, False])
async def test_a_field_that_asks_for_nothing_is_not_refused(value: object) -> None:
    reply, app = await ask(OPEN, {**ASK, "best_of": value, "early_stopping": value, "guided_json": value})
    assert (reply.status, len(app.seen)) == (200, 1)


async def test_errors_have_the_form_of_their_route() -> None:
    reply, _ = await ask(OPEN, b"{", "/v1/messages")
    assert reply.json["type"] == "error"
    assert reply.error["type"] == "invalid_request_error"
    reply, _ = await ask(OPEN, b"{")
    assert reply.error["type"] == "BadRequestError"
    assert reply.headers["connection"] == "close"


BAD_BODIES = [b"{", b"\xff", b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), b'{"n":1,"n":200}', b"[" * 100_000]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_body_that_two_parsers_may_read_differently_is_refused(body: bytes) -> None:
    reply, app = await ask(OPEN, body)
    assert (reply.status, app.seen) == (400, [])


async def test_one_request_beyond_the_limit_gets_429_and_asks_no_engine() -> None:
    release, entered, count = asyncio.Event(), asyncio.Event(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal count
        count += 1
        if count == 2:
            entered.set()
        await release.wait()
        await RecordingApp()(scope, receive, send)

    guard = RequestGuard(app, replace(OPEN, max_concurrency=2))
    running = [asyncio.create_task(call(guard, "POST", CHAT, ASK)) for _ in range(2)]
    await entered.wait()
    reply = await call(guard, "POST", CHAT, ASK)
    assert (reply.status, reply.headers["retry-after"], count) == (429, "1", 2)
    assert (await call(guard, "GET", "/health/live")).status == 200
    release.set()
    assert [(await one).status for one in running] == [200, 200]
    assert (await call(guard, "POST", CHAT, ASK)).status == 200


async def test_a_request_that_fails_frees_its_place() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    guard = RequestGuard(app, replace(OPEN, max_concurrency=1))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await call(guard, "POST", CHAT, ASK)


async def test_a_large_body_is_checked_like_a_small_one() -> None:
    text = "x" * 200_000
    reply, app = await ask(OPEN, {**ASK, "user": text})
    assert (reply.status, app.seen[0].json["user"]) == (200, text)
    reply, app = await ask(OPEN, {**ASK, "user": text, "n": 129})
    assert (reply.status, app.seen) == (400, [])
    reply, app = await ask(OPEN, b'{"messages":[' + b"[]," * 600_000 + b"[]]}")
    assert (reply.status, app.seen) == (400, [])
    assert "objects and lists" in reply.error["message"]


FORM = [(b"content-type", b"multipart/form-data; boundary=b")]


async def test_a_form_is_streamed_and_limited_while_it_arrives() -> None:
    pieces = [b"x" * 10] * 5
    guard, app = guarded(replace(OPEN, max_body_bytes=50))
    assert (await call(guard, "POST", "/v1/audio/transcriptions", pieces, FORM)).status == 200
    assert app.seen[0].body == b"x" * 50
    reply = await call(guard, "POST", "/v1/audio/transcriptions", [*pieces, b"x"], FORM)
    assert (reply.status, len(app.seen)) == (413, 1)


BAD_HEADERS = {
    "two lengths": ([(b"content-length", b"2"), (b"content-length", b"3")], 400),
    "length and chunks": ([(b"content-length", b"2"), (b"transfer-encoding", b"chunked")], 400),
    "no number": ([(b"content-length", b"+2")], 400),
    "a negative number": ([(b"content-length", b"-1")], 400),
    "a huge number": ([(b"content-length", b"9" * 5000)], 413),
    "compressed": ([(b"content-encoding", b"gzip")], 415),
}


@pytest.mark.parametrize(("headers", "status"), BAD_HEADERS.values(), ids=BAD_HEADERS)
async def test_a_body_with_unclear_framing_is_refused(headers: Any, status: int) -> None:
    reply, app = await ask(OPEN, b"{}", headers=headers)
    assert (reply.status, app.seen) == (status, [])


@pytest.mark.parametrize(
    ("given", "kept"),
    [(b"abc-1", True), (b"a" * 128, True), (b"a" * 129, False), (b"a b", False), (b"a\r\nx: y", False), (b"", False)],
)
async def test_the_request_id_is_kept_or_made_and_returned(given: bytes, kept: bool) -> None:
    reply, app = await ask(OPEN, ASK, headers=[(b"X-Request-Id", given)])
    returned = reply.headers["x-request-id"]
    assert app.seen[0].headers["x-request-id"] == returned
    assert (returned == given.decode()) is kept
    assert len(returned) >= 5


async def test_a_key_is_needed_where_one_is_configured_and_goes_no_further() -> None:
    settings = replace(OPEN, key_digests=(digest("first-key"), digest("second-key")))
    shown = [
        (None, 401),
        ([(b"authorization", b"Bearer first-key")], 200),
        ([(b"authorization", b"bearer second-key")], 200),
        ([(b"x-api-key", b"second-key")], 200),
        ([(b"authorization", b"Bearer first-ke")], 401),
        ([(b"authorization", b"Basic first-key")], 401),
        ([(b"authorization", b"Bearer first-key"), (b"authorization", b"Bearer wrong")], 401),
        ([(b"authorization", b"Bearer wrong"), (b"x-api-key", b"first-key")], 401),
    ]
    for headers, status in shown:
        reply, app = await ask(settings, ASK, headers=headers or ())
        assert reply.status == status, headers
        assert [set(seen.headers) & {"authorization", "x-api-key"} for seen in app.seen] == [set()] * (status == 200)
        if status == 401:
            assert reply.headers["www-authenticate"] == "Bearer"


async def test_a_key_file_may_be_rotated_while_requests_come(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    guard, _ = guarded(replace(OPEN, keys_file=str(file)))

    async def status(key: str) -> int:
        return (await call(guard, "POST", CHAT, ASK, [(b"authorization", f"Bearer {key}".encode())])).status

    assert await status("one") == 401  # without a file no key is right
    file.write_text("# keys\none\ntwo\n")
    assert [await status(key) for key in ("one", "two", "# keys", "")] == [200, 200, 401, 401]
    file.write_text("two\nthree\n\n")
    assert [await status(key) for key in ("one", "two", "three")] == [401, 200, 200]
    file.write_text("")
    assert [await status(key) for key in ("one", "three")] == [401, 200]
    file.unlink()
    assert await status("three") == 200


async def test_health_needs_no_key_and_follows_the_engine_or_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "objection"
    settings = replace(OPEN, key_digests=(digest("k"),), health_path="/healthz", health_file=str(file))
    guard, app = guarded(settings)
    paths = ("/healthz", "/ping", "/health", "/health/ready")
    assert {(await call(guard, method, path)).status for path in paths for method in ("GET", "HEAD")} == {200}
    assert {(seen.method, seen.path) for seen in app.seen} == {("GET", "/health")}
    file.write_text('{"condition":"draining"}')
    replies = [await call(guard, "GET", path) for path in paths]
    assert {(reply.status, reply.body) for reply in replies} == {(503, b'{"condition":"draining"}')}
    assert (await call(guard, "GET", "/health/live")).status == 200
    assert (await call(guard, "POST", "/ping")).status == 405


async def test_a_unix_socket_is_trusted_where_the_worker_asks_so_and_no_header_makes_one() -> None:
    for trust, server, status in (
        (True, ("/tmp/engine.sock", None), 200),
        (False, ("/tmp/engine.sock", None), 404),
        (True, ("10.0.0.1", 80), 404),
        (True, None, 404),
    ):
        guard, _ = guarded(replace(OPEN, trust_unix=trust))
        assert (await call(guard, "GET", "/metrics", server=server, client=None)).status == status


async def test_a_websocket_is_closed_and_lifespan_passes() -> None:
    kinds: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    guard = RequestGuard(app, OPEN)
    await guard({**scope_of("GET", "/v1/realtime"), "type": "websocket"}, receive, send)
    await guard({"type": "lifespan"}, receive, send)
    assert (kinds, sent) == (["lifespan"], [{"type": "websocket.close", "code": 1008}])


async def test_each_request_is_logged_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="worker_vllm.web.access"):
        await ask(OPEN, {**ASK, "user": "canary"}, headers=[(b"x-request-id", b"id-7")])
        await ask(OPEN, ASK, "/canary\r\nFORGED")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith(f"POST {CHAT} 200 ")
    assert lines[0].endswith(" id-7")
    assert lines[1].startswith("POST - 404 ")
    assert "canary" not in json.dumps(lines)
