"""Many clients at once: each gets exactly its own; one that leaves takes its work with it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import openai
import pytest

from tests.support.http import Http, metric
from tests.support.stack import Stack

RUNNING = "vllm:num_requests_running"
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kiwi", "lark", "newt", "owl")


def messages(count: int, seed: int = 1) -> list[str]:
    """Different texts of 10 to 40 characters."""
    source = random.Random(seed)
    return [f"{number:02d} {' '.join(source.choices(WORDS, k=source.randint(2, 8)))}"[:40] for number in range(count)]


async def ask(client: openai.AsyncOpenAI, up: Stack, text: str, stream: bool) -> str:
    request: dict[str, Any] = {
        "model": up.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "stream": stream,
    }
    answer = await client.chat.completions.create(**request)
    if stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
    return answer.choices[0].message.content or ""


async def test_64_concurrent_chats_each_get_their_own_message(aclient: openai.AsyncOpenAI, up: Stack) -> None:
    """Half of them streamed; nothing is swapped, lost or doubled."""
    texts = messages(64)
    async with asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(ask(aclient, up, text, stream=number % 2 == 0)) for number, text in enumerate(texts)
        ]
    assert [task.result() for task in asked] == texts


async def native_stream(http: Http, text: str) -> str:
    """A streamed native job, read piece by piece with /stream until it is over."""
    params = {"temperature": 0, "max_tokens": 60}
    job_input = {"messages": [{"role": "user", "content": text}], "stream": True, "sampling_params": params}
    job_id = (await http.post("/run", {"input": job_input})).json["id"]
    received, output = "", 0
    while True:
        answer = (await http.get(f"/stream/{job_id}")).json
        for piece in answer["stream"]:
            received += "".join(piece["output"]["choices"][0]["tokens"])
            assert piece["output"]["usage"]["output"] > output
            output = piece["output"]["usage"]["output"]
        if answer["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            assert answer["status"] == "COMPLETED"
            return received


async def test_32_concurrent_native_streams_each_get_their_own_message(up: Stack) -> None:
    """Pieces come in order, none twice, counts growing; the job ends only when all of them were read."""
    texts = messages(32, seed=2)
    async with Http(up.url) as http, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(native_stream(http, text)) for text in texts]
    assert [task.result() for task in asked] == texts


async def running(engine: Http) -> float:
    return metric((await engine.get("/metrics")).body.decode(), RUNNING)


async def until_idle(engine: Http) -> None:
    """Return once the engine runs nothing; the test's own time limit bounds the wait."""
    while await running(engine):
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("endpoint", ["openai", "native"])
async def test_a_stream_that_is_left_is_aborted_in_the_engine(up: Stack, endpoint: str) -> None:
    """A client that hangs up, and a job that is cancelled, end the sequence: the running count is 0 again."""
    forever = {"ignore_eos": True, "max_tokens": 60_000}
    slow = {"echo": {"tpot_ms": 5}} if up.model == "echo" else {}
    async with Http(up.engine_url) as engine, Http(up.url) as http:
        if endpoint == "openai":
            body = {"messages": [{"role": "user", "content": "again"}], "stream": True, **forever, **slow}
            async with http.open("POST", "/openai/v1/chat/completions", body) as answer:
                await answer.content.readuntil(b"\n\n")
                assert await running(engine) == 1
        else:
            prompt = '[[echo {"tpot_ms": 5}]]again' if slow else "again"
            job = (
                await http.post("/run", {"input": {"prompt": prompt, "stream": True, "sampling_params": forever}})
            ).json
            first = (await http.get(f"/stream/{job['id']}")).json
            assert first["stream"]
            assert await running(engine) == 1
            assert (await http.post(f"/cancel/{job['id']}")).json["status"] == "CANCELLED"
        await until_idle(engine)


async def test_leaving_before_the_first_token_aborts_too(echo_stack: Stack) -> None:
    """A long prefill is aborted when its client disconnects."""
    body = {"messages": [{"role": "user", "content": "x"}], "echo": {"ttft_ms": 60_000}}
    async with Http(echo_stack.engine_url) as engine, Http(echo_stack.url) as http:
        for stream in (True, False):
            asking = asyncio.create_task(http.post("/openai/v1/chat/completions", {**body, "stream": stream}))
            await engine.get("/echo/wait?running=1")
            asking.cancel()
            await asyncio.wait([asking])
            await engine.get("/echo/wait?running=0")
