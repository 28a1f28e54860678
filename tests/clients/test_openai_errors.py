"""What the official `openai` client raises, and when it tries again."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.clients.conftest import EVERY_FRONT
from tests.support.http import Http
from tests.support.stack import Stack

FRONTS = EVERY_FRONT
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
RETRY: list[Any] = [{"role": "user", "content": "retry me"}]

# changes to the request, the client's exception, the param that the error names
REFUSALS = [
    pytest.param({"model": "no-such-model"}, openai.NotFoundError, "model", id="unknown model"),
    pytest.param({"max_tokens": -1}, openai.BadRequestError, "max_tokens", id="engine's own refusal"),
    pytest.param({"max_tokens": "many"}, openai.BadRequestError, "body.max_tokens", id="wrong type"),
    pytest.param({"messages": []}, openai.BadRequestError, None, id="no message"),
    pytest.param({"stop": list("abcde")}, None, None, id="five stop strings are served"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("change", "kind", "param"), REFUSALS)
def test_refusals(
    client: openai.OpenAI,
    up: Stack,
    change: dict[str, Any],
    kind: type[openai.APIStatusError] | None,
    param: str | None,
    stream: bool,
) -> None:
    """The HTTP status is the engine's, also for a stream, so the client raises the right exception."""
    request: dict[str, Any] = {"model": up.model, "messages": HELLO, "stream": stream, **change}
    if kind is None:
        client.chat.completions.create(**request)
        return
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**request)
    assert caught.value.param == param
    assert caught.value.message


# the scripted engine's status, the client's exception
STATUSES = [
    (400, openai.BadRequestError),
    (401, openai.AuthenticationError),
    (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError),
    (409, openai.ConflictError),
    (413, openai.APIStatusError),
    (422, openai.UnprocessableEntityError),
    (500, openai.InternalServerError),
    (501, openai.InternalServerError),
    (504, openai.InternalServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_every_status_of_the_engine_reaches_the_client(
    scripted: Stack, status: int, kind: type[openai.APIStatusError]
) -> None:
    """One error model from engine to client: status and message are the engine's."""
    with openai.OpenAI(base_url=scripted.openai_url, api_key="none", max_retries=0) as client:
        with pytest.raises(kind) as caught:
            client.chat.completions.create(
                model="echo", messages=HELLO, extra_body={"echo": {"status": status, "message": "so it is"}}
            )
    body: Any = caught.value.body
    assert (caught.value.status_code, body["message"]) == (status, "so it is")


def test_an_error_in_the_stream_is_raised(scripted: Stack) -> None:
    """What came before it was delivered; then the client raises instead of ending as if all were well."""
    with openai.OpenAI(base_url=scripted.openai_url, api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="echo", messages=HELLO, stream=True, extra_body={"echo": {"fail_after": 3, "message": "broke"}}
        )
        chunks: list[Any] = []
        with pytest.raises(openai.APIError, match="broke"):
            chunks.extend(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hel"


async def test_the_client_retries_what_may_succeed(scripted: Stack) -> None:
    """Two 500s, then the answer: three requests reached the engine."""
    async with (
        Http(scripted.engine_url) as engine,
        openai.AsyncOpenAI(base_url=scripted.openai_url, api_key="none", max_retries=2) as client,
    ):
        await engine.post("/echo/script", {"times": 2, "script": {"status": 500}})
        answer = await client.chat.completions.create(model="echo", messages=RETRY)
        tried = [seen for seen in (await engine.get("/echo/requests")).json if "retry me" in seen["body"]]
    assert answer.choices[0].message.content == "retry me"
    assert len(tried) == 3


async def test_a_full_engine_is_waited_for_by_the_worker(echo_stack: Stack) -> None:
    """The client sees neither the 503 nor the 429 of an engine whose queue is full for a moment."""
    for status in (503, 429):
        async with Http(echo_stack.engine_url) as engine:
            await engine.post("/echo/script", {"times": 2, "script": {"status": status}})
        async with openai.AsyncOpenAI(base_url=echo_stack.openai_url, api_key="none", max_retries=0) as client:
            answer = await client.chat.completions.create(model="echo", messages=HELLO)
        assert answer.choices[0].message.content == "hello"


@pytest.mark.parametrize(("status", "kind"), [(503, openai.InternalServerError), (429, openai.RateLimitError)])
async def test_a_full_engine_is_reported_in_http_mode(
    echo_http: Stack, status: int, kind: type[openai.APIStatusError]
) -> None:
    """Clients talk to the engine's own server, and wait by themselves: the worker holds no request."""
    async with Http(echo_http.engine_url) as engine:
        await engine.post("/echo/script", {"times": 1, "script": {"status": status}})
    async with openai.AsyncOpenAI(base_url=echo_http.openai_url, api_key="none", max_retries=0) as client:
        with pytest.raises(kind):
            await client.chat.completions.create(model="echo", messages=HELLO)
        answer = await client.chat.completions.create(model="echo", messages=HELLO)
    assert answer.choices[0].message.content == "hello"
