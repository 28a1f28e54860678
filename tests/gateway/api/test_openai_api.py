"""The OpenAI passthrough: bodies and events untouched, true HTTP status, streams that never only look complete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.gateway.conftest import Open
from tests.gateway.fake_worker import FakeWorker
from tests.support.http import Http
from worker_vllm.gateway.options import GatewayLimits, GatewayOptions, GetBody, WaitTimeouts
from worker_vllm.json_bytes import dump

CHAT = "/v2/local/openai/v1/chat/completions"
STREAM = {"stream": True, "messages": []}
NOT_FOUND = {"message": "no such model", "type": "NotFoundError", "param": "model", "code": 404}
JOB = "sync-job1-u1"


def event(payload: Any) -> str:
    """A server-sent event as vLLM writes it."""
    return f"data: {json.dumps(payload)}\n\n"


@asynccontextmanager
async def taken(http: Http, worker: FakeWorker, body: Any = STREAM) -> AsyncIterator[asyncio.Task[Any]]:
    """A chat request whose job the worker has; the task is the client's whole answer."""
    waiting = asyncio.create_task(http.post(CHAT, body))
    await worker.take()
    yield waiting
    await asyncio.wait((waiting,))


async def test_a_request_becomes_a_job_with_the_route_and_the_body_as_sent(http: Http, worker: FakeWorker) -> None:
    """Numbers keep their spelling: the body is not parsed and written again."""
    waiting = asyncio.create_task(http.post(CHAT, b'{"temperature": 1.0, "seed": 12345678901234567890}'))
    job = await worker.take()
    assert b'"openai_input": {"temperature": 1.0, "seed": 12345678901234567890}' in job.body
    assert job.json["input"]["openai_route"] == "/v1/chat/completions"
    await worker.done(JOB, {"output": [{"b": 1, "a": 2}]})
    answer = await waiting
    assert (answer.status, answer.body) == (200, b'{"b":1,"a":2}')
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["x-request-id"] == JOB


@pytest.mark.parametrize(
    ("get_body", "expected"),
    [
        (GetBody.ABSENT, {"openai_route": "/v1/models"}),
        (GetBody.NULL, {"openai_route": "/v1/models", "openai_input": None}),
        (GetBody.EMPTY, {"openai_route": "/v1/models", "openai_input": {}}),
    ],
)
async def test_the_body_of_a_get_is_an_option(open_gateway: Open, get_body: GetBody, expected: Any) -> None:
    """What RunPod sends for GET is not known; a worker must cope with each."""
    http = await open_gateway(GatewayOptions(get_body=get_body))
    waiting = asyncio.create_task(http.get("/v2/local/openai/v1/models"))
    worker = FakeWorker(http)
    assert (await worker.take()).json["input"] == expected
    await worker.done(JOB, {"output": ['{"object":"list"}']})
    assert (await waiting).body == b'{"object":"list"}'


OUTPUTS: list[tuple[str, Any, bytes]] = [
    ("the first of a list", {"output": [{"x": 1}, {"y": 2}]}, b'{"x":1}'),
    ("text as it is", {"output": ['{"x":1.0}']}, b'{"x":1.0}'),
    ("a plain object", {"output": {"x": 1}}, b'{"x":1}'),
    ("a plain text", {"output": "hi"}, b"hi"),
    ("an empty list", {"output": []}, b"[]"),
    ("nothing", {}, b""),
]


@pytest.mark.parametrize(("body", "sent"), [row[1:] for row in OUTPUTS], ids=[row[0] for row in OUTPUTS])
async def test_the_body_is_what_the_worker_gave(http: Http, worker: FakeWorker, body: Any, sent: bytes) -> None:
    """Lists stand for generators: their first item answers."""
    async with taken(http, worker, {"stream": False}) as waiting:
        await worker.done(JOB, body)
    assert ((await waiting).status, (await waiting).body) == (200, sent)


ERRORS: list[tuple[str, str, int, Any]] = [
    ("an OpenAI error", json.dumps(NOT_FOUND), 404, {"error": NOT_FOUND}),
    ("any text", "CUDA error", 500, {"error": "CUDA error"}),
    ("JSON of another kind", '{"error_type": "x"}', 500, {"error": '{"error_type": "x"}'}),
    (
        "a code that is no status",
        json.dumps({**NOT_FOUND, "code": 7}),
        500,
        {"error": json.dumps({**NOT_FOUND, "code": 7})},
    ),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("error", "status", "body"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
async def test_a_failed_job_answers_with_its_own_status(
    http: Http, worker: FakeWorker, error: str, status: int, body: Any, stream: bool
) -> None:
    """The error object's code is the HTTP status; any other error is the platform's 500."""
    async with taken(http, worker, {"stream": stream}) as waiting:
        await worker.done(JOB, {"error": error})
    assert ((await waiting).status, (await waiting).json) == (status, body)


async def test_pieces_are_written_as_they_come(http: Http, worker: FakeWorker) -> None:
    """Before the next one exists; nothing added, nothing reframed, splits anywhere."""
    pieces = ['data: {"text": "é', '🙂"}\n\n', event({"n": 2}) + event({"n": 3}), "data: [DONE]"]
    async with http.open("GET", "/v2/local/health"):
        pass
    opening = asyncio.create_task(_open(http))
    await worker.take()
    await worker.piece(JOB, pieces[0])
    context, answer = await opening
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    read = [await answer.content.readany()]
    for piece in pieces[1:]:
        await worker.piece(JOB, piece)
        read.append(await answer.content.readany())
    await worker.done(JOB, {"output": []})
    assert [chunk.decode() for chunk in read] == pieces
    assert await answer.content.read() == b""
    await context.__aexit__(None, None, None)


async def test_a_stream_that_begins_with_an_error_gets_its_status(http: Http, worker: FakeWorker) -> None:
    """Headers wait for the first piece, so an in-band error still becomes an HTTP error."""
    async with taken(http, worker) as waiting:
        await worker.piece(JOB, event({"error": NOT_FOUND}) + "data: [DONE]\n\n")
        await worker.done(JOB, {"error": json.dumps(NOT_FOUND)})
    assert ((await waiting).status, (await waiting).json) == (404, {"error": NOT_FOUND})


async def test_a_stream_that_fails_later_ends_with_an_error_event(http: Http, worker: FakeWorker) -> None:
    """A stream that the worker did not end must not look complete."""
    async with taken(http, worker) as waiting:
        await worker.piece(JOB, event({"n": 1}))
        await worker.done(JOB, {"error": json.dumps(NOT_FOUND)})
    failure = b"data: " + dump({"error": NOT_FOUND}) + b"\n\ndata: [DONE]\n\n"
    assert (await waiting).body == event({"n": 1}).encode() + failure


async def test_an_error_that_the_worker_streamed_is_not_repeated(http: Http, worker: FakeWorker) -> None:
    """The worker's own error event is the last."""
    streamed = event({"n": 1}) + event({"error": NOT_FOUND}) + "data: [DONE]\n\n"
    async with taken(http, worker) as waiting:
        await worker.piece(JOB, streamed)
        await worker.done(JOB, {"error": json.dumps(NOT_FOUND)})
    assert (await waiting).body.decode() == streamed


async def test_a_cancelled_job_ends_its_stream_and_its_wait(http: Http, worker: FakeWorker) -> None:
    """499 where nothing was sent yet."""
    async with taken(http, worker) as waiting:
        await http.post(f"/v2/local/cancel/{JOB}")
    message = f'job "{JOB}" was cancelled'
    error = {"message": message, "type": "CancelledError", "param": None, "code": 499}
    assert ((await waiting).status, (await waiting).json) == (499, {"error": error})


async def test_a_stream_without_pieces_answers_with_the_result(http: Http, worker: FakeWorker) -> None:
    """Events that come only with the result, as after a worker was replaced, are still events."""
    async with taken(http, worker) as waiting:
        await worker.done(JOB, {"output": [event(1), "data: [DONE]\n\n"]})
    assert (await waiting).body.decode() == event(1) + "data: [DONE]\n\n"
    assert (await waiting).headers["content-type"] == "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(("status", "stream"), [(200, False), (504, False), (504, True)])
async def test_a_wait_that_is_over_gives_the_status_object(open_gateway: Open, status: int, stream: bool) -> None:
    """With the status of the option; RunPod's own is not known."""
    waits = WaitTimeouts(openai_s=0.02, openai_stream_s=0.02)
    http = await open_gateway(GatewayOptions(waits=waits, wait_expiry_status=status))
    answer = await http.post(CHAT, {"stream": stream})
    assert (answer.status, answer.json) == (status, {"id": JOB, "status": "IN_QUEUE"})


@pytest.mark.parametrize(("cancels", "ends_as"), [(False, "IN_PROGRESS"), (True, "CANCELLED")])
async def test_whether_a_client_that_leaves_cancels_is_an_option(
    open_gateway: Open, cancels: bool, ends_as: str
) -> None:
    """Off by default: there is no evidence that RunPod does it."""
    http = await open_gateway(GatewayOptions(cancel_on_disconnect=cancels))
    worker = FakeWorker(http)
    waiting = asyncio.create_task(http.post(CHAT, {"stream": True}))
    await worker.take()
    waiting.cancel()
    await asyncio.wait((waiting,))
    if cancels:
        assert (await worker.stops()).json == {"jobsToStop": [JOB]}
    assert (await http.get(f"/v2/local/status/{JOB}")).json["status"] == ends_as


async def test_a_body_that_is_no_json_is_refused_in_openais_words(http: Http) -> None:
    """The official client shows `error.message`."""
    answer = await http.post(CHAT, b"{")
    message = "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
    assert (answer.status, answer.json) == (400, {"error": error})


async def _open(http: Http) -> tuple[Any, aiohttp.ClientResponse]:
    context = http.open("POST", CHAT, STREAM)
    return context, await context.__aenter__()


async def test_a_client_that_does_not_read_holds_its_worker_up(open_gateway: Open) -> None:
    """Nothing is lost and nothing grows: the piece's answer waits until the client reads on."""
    http = await open_gateway(GatewayOptions(limits=GatewayLimits(unread_bytes=200_000)))
    worker = FakeWorker(http)
    opening = asyncio.create_task(_open(http))
    await worker.take()
    sent = 0
    while sent < 500:
        posting = asyncio.create_task(worker.piece(JOB, f"{sent:06d}" + "x" * 100_000))
        sent += 1
        if not (await asyncio.wait((posting,), timeout=0.5))[0]:
            break
    assert sent < 500, "the worker was never held up"
    context, answer = await opening
    ending = asyncio.create_task(_end(worker, posting))
    text = (await answer.content.read()).decode()
    await ending
    assert [text[start : start + 6] for start in range(0, len(text), 100_006)] == [f"{n:06d}" for n in range(sent)]
    await context.__aexit__(None, None, None)


async def _end(worker: FakeWorker, posting: asyncio.Task[Any]) -> None:
    assert (await posting).status == 200
    await worker.done(JOB, {"output": []})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_text_that_no_utf8_can_hold_arrives_with_a_mark_in_its_place(
    http: Http, worker: FakeWorker, stream: bool
) -> None:
    """Half an emoji outside of JSON has no escape to travel as."""
    async with taken(http, worker, {"stream": stream}) as waiting:
        if stream:
            await worker.piece(JOB, b'{"output": "a\\ud83eb"}')
        await worker.done(JOB, b'{"output": "a\\ud83eb"}')
    assert (await waiting).body == b"a?b"
