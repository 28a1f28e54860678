"""What broke workers before, on the real engine: a long prompt, a minute of silence, an engine that is full."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.support.engines.real import real_engine_process
from tests.support.engines.watched import Watched, watched
from tests.support.engines.windowed import windowed_settings
from tests.support.http import Http, metric_sum
from tests.support.jobs import finished
from tests.support.stack import Stack, serve

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.vllm, pytest.mark.matrix]

LONG = 100_000
MINUTE_S = 60.0
AIM_S = 80.0  # what the next prompt is sized for when one was read in less than a minute
LONGEST = 130_000  # tokens; the embedded model's context is 131,072
FIRST = 5_000
LOST_AFTER_S = 5.0  # so long a silence, and the gateway gives a worker's jobs to another
REFUSALS = 10
REFUSED = "vllm:admission_rejections_total"
ENDED = "vllm:request_success_total"
ROUTES = ("/v1/completions", "/v1/chat/completions")


async def counted(engine: Http, name: str) -> float:
    """One of the engine's own counters."""
    return metric_sum((await engine.get("/metrics")).body.decode(), name)


async def asked(engine: Http) -> float:
    """How many generations the engine was asked for, whatever became of them."""
    exposition = (await engine.get("/metrics")).body.decode()
    return sum(metric_sum(exposition, "http_requests_total", f'handler="{route}"') for route in ROUTES)


async def always(engine: Http, letter: str) -> dict[str, Any]:
    """Sampling that gives this letter and no other, so that what is right is known for any prompt."""
    asked = {"prompt": letter, "add_special_tokens": False}
    [token] = (await engine.post("/tokenize", asked)).json["tokens"]
    return {"temperature": 0, "logit_bias": {str(token): 100}}


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A model whose prefill of a long prompt takes seconds on a CPU."""
    settings = windowed_settings(tmp_path_factory.mktemp("windowed"))
    with real_engine_process(settings) as engine_url, serve(engine_url, "windowed") as up:
        yield up


@pytest.mark.timeout(600)
async def test_a_hundred_thousand_tokens_are_read(windowed: Stack) -> None:
    """By the model, not just by the tokenizer: the engine computes every one, and both kinds of job count them."""
    async with Http(windowed.engine_url) as engine, Http(windowed.url) as http:
        marks = len((await engine.post("/tokenize", {"prompt": ""})).json["tokens"])
        sampling = {**await always(engine, "z"), "max_tokens": 4}
        before = await counted(engine, "vllm:request_prefill_kv_computed_tokens_sum")
        prompts = [letters * ((LONG - marks) // 2) for letters in ("ab", "cd")]
        native = await finished(http, {"prompt": prompts[0], "sampling_params": sampling})
        whole = await http.post("/openai/v1/completions", {"prompt": prompts[1], **sampling})
        computed = await counted(engine, "vllm:request_prefill_kv_computed_tokens_sum") - before
    assert native["output"] == [{"choices": [{"tokens": ["zzzz"]}], "usage": {"input": LONG, "output": 4}}]
    assert (whole.json["choices"][0]["text"], whole.json["usage"]["prompt_tokens"]) == ("zzzz", LONG)
    assert computed >= 2 * LONG - 1000  # blocks that both prompts begin with may be shared


@dataclass(frozen=True, slots=True)
class Answered:
    """What came for one request, the tokens of its prompt, and how long nothing had come."""

    text: str
    prompt_tokens: int
    waited_s: float


class Silence:
    """The same conversation three ways at once, for one token: nothing can come before the prompt has been read."""

    def __init__(self, up: Watched, sampling: dict[str, Any], text: str) -> None:
        self._up = up
        self._sampling = {**sampling, "max_tokens": 1}
        self._messages: list[Any] = [{"role": "user", "content": text}]
        self._started = time.monotonic()

    async def answers(self) -> list[Answered]:
        """Native, OpenAI whole, OpenAI streamed."""
        return list(await asyncio.gather(self._native(), self._whole(), self._streamed()))

    def _answered(self, text: str, prompt_tokens: int) -> Answered:
        return Answered(text, prompt_tokens, time.monotonic() - self._started)

    async def _native(self) -> Answered:
        async with Http(self._up.url) as http:
            job = await finished(http, {"messages": self._messages, "sampling_params": self._sampling})
        [item] = job["output"]
        return self._answered(item["choices"][0]["tokens"][0], item["usage"]["input"])

    async def _whole(self) -> Answered:
        async with self._client() as client:
            answer = await client.chat.completions.create(**self._request())
        assert answer.usage is not None
        return self._answered(answer.choices[0].message.content or "", answer.usage.prompt_tokens)

    async def _streamed(self) -> Answered:
        text, waited_s, tokens = "", 0.0, 0
        async with self._client() as client:
            request = {**self._request(), "stream_options": {"include_usage": True}}
            async for chunk in await client.chat.completions.create(stream=True, **request):
                waited_s = waited_s or time.monotonic() - self._started
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                tokens = chunk.usage.prompt_tokens if chunk.usage else tokens
        return Answered(text, tokens, waited_s)

    def _client(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self._up.url}/openai/v1", api_key="none", max_retries=0)

    def _request(self) -> dict[str, Any]:
        bias = self._sampling["logit_bias"]
        return {"model": "parrot", "messages": self._messages, "temperature": 0, "max_tokens": 1, "logit_bias": bias}


async def three_ways(up: Watched, engine: Http, number: int, length: int) -> float:
    """Ask with a prompt of about this many tokens that no earlier one begins like.

    The shortest time that one of the three waited.
    """
    text = f"{number}" + "a" * length
    tokens = (await engine.post("/tokenize", {"messages": [{"role": "user", "content": text}]})).json["count"]
    before, since = await asked(engine), time.monotonic()
    answers = await Silence(up, await always(engine, "z"), text).answers()
    assert [(answer.text, answer.prompt_tokens) for answer in answers] == [("z", tokens)] * 3
    assert await asked(engine) - before == 3
    assert up.longest_silence(since, time.monotonic()) < LOST_AFTER_S
    return min(answer.waited_s for answer in answers)


@pytest.mark.timeout(1200)
async def test_a_prefill_of_a_minute_is_waited_for(real_engine: str) -> None:
    """The prompt grows until this machine needs a minute for it: nothing is retried, doubled or given up, and the
    heartbeat goes on."""
    length, waited_s, rounds = 0, 0.0, 0
    with watched(real_engine) as up:
        async with Http(real_engine) as engine, Http(up.url) as http:
            while waited_s < MINUTE_S:
                assert length < LONGEST, f"this machine reads {length} tokens in {waited_s:.0f} s"
                length = min(LONGEST, int(length * max(1.2, (AIM_S / waited_s) ** 0.5)) if rounds else FIRST)
                waited_s = await three_ways(up, engine, rounds, length)
                log.info("%d tokens: %.1f s without an answer", length, waited_s)
                rounds += 1
            jobs = (await http.get("/health")).json["jobs"]
    assert (jobs["completed"], jobs["failed"], jobs["retried"]) == (3 * rounds, 0, 0)
    assert len(up.recorder.of("job-done")) == 3 * rounds


@pytest.fixture(scope="module")
def narrow() -> Iterator[str]:
    """An engine that admits one request and answers 503 to every other."""
    with real_engine_process({"MAX_NUM_SEQS": "1", "MAX_NUM_QUEUED_REQS": "1"}) as engine_url:
        yield engine_url


@pytest.mark.timeout(420)
async def test_five_jobs_outwait_an_engine_that_is_full(narrow: str) -> None:
    """It answers 503 to all of them while another client occupies it: all five are served, none failed or doubled."""
    texts = [f"patient {number}" for number in range(5)]
    sampling = {"temperature": 0, "max_tokens": 20}
    occupying = {"prompt": "x", "max_tokens": 100_000, "ignore_eos": True, "stream": True}
    with serve(narrow, "parrot") as up:
        async with Http(narrow) as engine, Http(up.url) as http, asyncio.TaskGroup() as tasks:
            first = (await http.get("/health")).json["jobs"]["completed"]  # a fresh stack says hello to itself
            async with engine.open("POST", "/v1/completions", occupying) as answer:
                await answer.content.readuntil(b"\n\n")
                assert (await engine.post("/v1/completions", {"prompt": "x"})).status == 503
                jobs = [
                    tasks.create_task(finished(http, {"messages": text, "sampling_params": sampling}))
                    for text in texts
                ]
                while await counted(engine, REFUSED) < REFUSALS:
                    await asyncio.sleep(0.05)  # the engine's counters can only be polled
                waiting = (await http.get("/health")).json["jobs"]
                before = await counted(engine, ENDED)
        async with Http(narrow) as engine, Http(up.url) as http:
            after, ended = (await http.get("/health")).json["jobs"], await counted(engine, ENDED)
    assert (waiting["inProgress"] + waiting["inQueue"], waiting["completed"] - first) == (5, 0)
    assert [job.result()["output"][0]["choices"][0]["tokens"] for job in jobs] == [[text] for text in texts]
    assert (after["completed"] - first, after["failed"], after["retried"]) == (5, 0, 0)
    assert ended - before == 5
