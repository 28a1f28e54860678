"""Jobs that broke workers before: long silence, big bodies, a thinking model, an engine that is full."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import openai
import pytest

from tests.support.http import Http
from tests.support.jobs import finished
from tests.support.stack import Stack

MINUTE_MS = 61_000


async def test_a_thinking_models_native_job_shows_its_whole_text(echo_stack: Stack) -> None:
    """The chat route would hide the thought, and an answer cut inside it would be empty."""
    text = '[[echo {"reasoning": "because", "text": "so"}]]why?'
    async with Http(echo_stack.url) as http:
        job = {"messages": [{"role": "user", "content": text}], "sampling_params": {"max_tokens": 100}}
        whole = await finished(http, job)
        cut = await finished(http, {**job, "sampling_params": {"max_tokens": 9}})
    assert whole["output"][0]["choices"] == [{"tokens": ["<think>because</think>so"]}]
    assert cut["output"] == [{"choices": [{"tokens": ["<think>be"]}], "usage": {"input": len(text) + 3, "output": 9}}]


@pytest.mark.matrix
@pytest.mark.timeout(90)
async def test_a_prefill_of_a_minute_is_waited_for(echo_stack: Stack) -> None:
    """Not a token for over a minute: native, OpenAI whole and streamed all come through, none is tried again."""
    silent = {"ttft_ms": MINUTE_MS}
    messages = [{"role": "user", "content": "at last"}]
    body: dict[str, Any] = {"model": "echo", "messages": messages, "extra_body": {"echo": silent}}
    async with (
        Http(echo_stack.url) as http,
        openai.AsyncOpenAI(base_url=echo_stack.openai_url, api_key="none", max_retries=0) as client,
        asyncio.TaskGroup() as tasks,
    ):
        job = tasks.create_task(finished(http, {"prompt": f'[[echo {{"ttft_ms": {MINUTE_MS}}}]]at last'}))
        whole = tasks.create_task(client.chat.completions.create(**body))
        stream = await client.chat.completions.create(**body, stream=True)
        streamed = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert job.result()["output"][0]["choices"] == [{"tokens": ["at last"]}]
    assert whole.result().choices[0].message.content == streamed == "at last"


async def test_a_nine_megabyte_image_is_answered(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """Served by a model that sees (the echo engine looks away), refused by one that does not; never hung."""
    image = "data:image/png;base64," + base64.b64encode(bytes(6_900_000)).decode()
    assert len(image) > 9_000_000
    parts: list[Any] = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": image}}]
    asking = aclient.chat.completions.create(model=up.model, messages=[{"role": "user", "content": parts}])
    if up.model == "echo":
        assert (await asking).choices[0].message.content == "what is it?"
    else:
        with pytest.raises(openai.BadRequestError, match="not a multimodal model"):
            await asking


ODD_INPUTS: list[tuple[str, bytes]] = [
    *(
        (f"nested {depth} deep", b'{"prompt": "x", "q": ' + b"[" * depth + b"]" * depth + b"}")
        for depth in (900, 950)  # the gateway itself refuses what is deeper
    ),
    ("half an emoji for a name", b'{"prompt": "x", "\\ud83e": 1}'),
    ("a route that is no text", b'{"openai_route": {"a": 1}}'),
]


@pytest.mark.parametrize("job_input", [row[1] for row in ODD_INPUTS], ids=[row[0] for row in ODD_INPUTS])
async def test_an_odd_job_is_refused_and_affects_no_other_job(echo_stack: Stack, job_input: bytes) -> None:
    """A 4xx in the error model, and the worker that read it answers the next job."""
    async with Http(echo_stack.url) as http:
        odd = (await http.post("/runsync", b'{"input": ' + job_input + b"}")).json
        assert odd["status"] == "FAILED"
        assert 400 <= json.loads(odd["error"])["code"] < 500
        fine = (await http.post("/runsync", {"input": {"prompt": "fine"}})).json
    assert (fine["status"], fine["workerId"]) == ("COMPLETED", odd["workerId"])


async def test_half_an_emoji_in_the_text_is_served(echo_stack: Stack) -> None:
    """Clients that cut text by code units send it; the engine makes U+FFFD of it."""
    async with Http(echo_stack.url) as http:
        job = (await http.post("/runsync", {"input": {"prompt": "x\ud83e"}})).json
    assert job["output"][0]["choices"] == [{"tokens": ["x\ufffd"]}]


@pytest.mark.parametrize("endpoint", ["run", "runsync"])
async def test_a_body_beyond_the_platforms_limit_is_refused(echo_stack: Stack, endpoint: str) -> None:
    """RunPod takes 10 MB with /run and 20 MB with /runsync; more is a clear 400 at once."""
    size = {"run": 10, "runsync": 20}[endpoint] * 1024 * 1024 + 1
    async with Http(echo_stack.url) as http:
        answer = await http.post(f"/{endpoint}", {"input": {"prompt": "x" * size}})
    assert answer.status == 400


async def test_a_hundred_thousand_tokens_go_in(echo_stack: Stack) -> None:
    """Counted exactly, native and OpenAI."""
    prompt = "ab" * 50_000
    async with Http(echo_stack.url) as http:
        job = await finished(http, {"prompt": prompt, "sampling_params": {"max_tokens": 4}})
        chat = await http.post(
            "/openai/v1/completions",
            {"prompt": prompt, "max_tokens": 4},
        )
    assert job["output"] == [{"choices": [{"tokens": ["abab"]}], "usage": {"input": 100_000, "output": 4}}]
    assert chat.json["usage"]["prompt_tokens"] == 100_000


async def test_more_than_the_context_is_refused_in_the_engines_words(up: Stack) -> None:
    """A prompt of 200,000 tokens against a context of 131,072: a 400 that says both, on either kind of job."""
    prompt = "x" * 200_000
    async with Http(up.url) as http:
        chat = await http.post("/openai/v1/completions", {"prompt": prompt, "max_tokens": 4})
        job = await finished(http, {"prompt": prompt})
    assert chat.status == 400
    assert "maximum context length is 131072" in chat.json["error"]["message"]
    assert job["status"] == "FAILED"
    assert "maximum context length is 131072" in job["error"]


async def test_five_jobs_outwait_an_engine_that_is_full(echo_stack: Stack) -> None:
    """A queue full for a while, twice for every job: all five are served, none failed, none doubled."""
    texts = [f"patient {number}" for number in range(5)]
    async with Http(echo_stack.engine_url) as engine, Http(echo_stack.url) as http:
        await engine.post("/echo/script", {"times": 10, "script": {"status": 503}})
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(finished(http, {"prompt": text})) for text in texts]
    assert [job.result()["output"][0]["choices"][0]["tokens"] for job in jobs] == [[text] for text in texts]


async def test_five_stop_strings_are_obeyed(up: Stack) -> None:
    """More than OpenAI's four: the text ends before the first that appears."""
    params = {"temperature": 0, "max_tokens": 50, "stop": ["1", "2", "3", "4", "!"]}
    async with Http(up.url) as http:
        job = await finished(http, {"prompt": "stop! now", "sampling_params": params})
    assert job["output"][0]["choices"] == [{"tokens": ["stop"]}]


@pytest.mark.parametrize("script", [{"split_utf8": True}, {"comments": True}, {"merge": 3}], ids=str)
async def test_text_survives_whatever_the_engine_writes(echo_stack: Stack, script: dict[str, Any]) -> None:
    """Writes broken inside characters, comments between events, several tokens in one: the same text, every route."""
    text = "é€🦜 ñ 漢字 🏳️‍🌈"
    messages: list[Any] = [{"role": "user", "content": text}]
    async with openai.AsyncOpenAI(base_url=echo_stack.openai_url, api_key="none") as client:
        stream = await client.chat.completions.create(
            model="echo", messages=messages, stream=True, extra_body={"echo": script}
        )
        chat = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    async with Http(echo_stack.url) as http:
        directive = f"[[echo {json.dumps(script)}]]"
        params = {"max_tokens": 99}
        job = await finished(http, {"prompt": directive + text, "stream": True, "sampling_params": params})
    items = job["output"]
    assert chat == text
    assert "".join(token for item in items for token in item["choices"][0]["tokens"]) == text
    assert items[-1]["usage"]["output"] == len(text) + 1
