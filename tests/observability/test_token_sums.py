"""The tokens in the lines of all jobs are those that the engine has counted, aborted streams included."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.support.engines.real import SETTINGS
from tests.support.http import Http, metric_sum
from tests.support.observed import Observed, observed_worker

ECHO = {"ENGINE": "echo", "MODEL_NAME": "parrot", "MAX_NUM_SEQS": "32", "ECHO_TPOT_MS": "1"}
REAL = {**SETTINGS, "ENGINE": "vllm", "HF_HUB_OFFLINE": "1"}
AT_ONCE = 24
TOKENS = ("prompt_tokens", "completion_tokens")


def job(number: int, dice: random.Random) -> dict[str, Any]:
    """One of several kinds of jobs: native and OpenAI, whole and streamed, some refused."""
    prompt = " ".join(f"word{dice.randrange(1000)}" for _ in range(dice.randrange(1, 12)))
    tokens = dice.choice((1, 4, 16, 64))
    stream = dice.random() < 0.6
    chat = {"messages": [{"role": "user", "content": prompt}], "max_tokens": tokens, "stream": stream}
    text = {"prompt": prompt, "max_tokens": tokens, "stream": stream}
    kinds: tuple[dict[str, Any], ...] = (
        {"prompt": prompt, "sampling_params": {"max_tokens": tokens, "n": 2}, "stream": stream},
        {"openai_route": "/v1/chat/completions", "openai_input": chat},
        {"openai_route": "/v1/chat/completions", "openai_input": {**chat, "stream_options": {"include_usage": True}}}
        if stream
        else {"openai_route": "/v1/chat/completions", "openai_input": {**chat, "n": 3}},
        {"openai_route": "/v1/completions", "openai_input": {**text, "prompt": [prompt, f"{prompt} again"]}},
        {"openai_route": "/v1/completions", "openai_input": {**text, "max_tokens": -1}},
        {"prompt": prompt, "sampling_params": {"max_tokens": tokens, "best_of": 2}},
        {
            "openai_route": "/v1/responses",
            "openai_input": {"input": prompt, "max_output_tokens": 16, "stream": stream},
        },
        {"openai_route": "/v1/messages", "openai_input": {**chat, "model": "parrot"}},
    )
    return kinds[number % len(kinds)]


def long_job(dice: random.Random) -> dict[str, Any]:
    """A stream that is cancelled long before its end."""
    body = {"prompt": f"hello {dice.randrange(1000)}", "max_tokens": 2000, "ignore_eos": True, "stream": True}
    return {"openai_route": "/v1/completions", "openai_input": {**body, "n": dice.choice((1, 2))}}


async def run_jobs(gateway: str, count: int) -> list[str]:
    """Run so many jobs, one in five of them cancelled in the middle; their ids."""
    dice, ids, slots = random.Random(7), list[str](), asyncio.Semaphore(AT_ONCE)

    async def one(http: Http, number: int) -> None:
        async with slots:
            cancelled = number % 5 == 0
            given = {"input": long_job(dice) if cancelled else job(number, dice)}
            job_id = (await http.post("/run", given)).json["id"]
            ids.append(job_id)
            if cancelled:
                while (await http.get(f"/status/{job_id}")).json["status"] == "IN_QUEUE":
                    await asyncio.sleep(0.01)
                await asyncio.sleep(dice.random() * 0.3)
                await http.post(f"/cancel/{job_id}")
            while (await http.get(f"/status/{job_id}?wait=5000")).json["status"] in ("IN_QUEUE", "IN_PROGRESS"):
                pass

    async with Http(gateway) as http, asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(one(http, number))
    return ids


async def counters(observed: Observed) -> dict[str, float]:
    """The engine's own counters, and the worker's."""
    text = await observed.scrape()
    engine = {name: metric_sum(text, f"vllm:{kind}_total") for name, kind in zip(TOKENS, KINDS, strict=True)}
    return engine | {f"worker {name}": metric_sum(text, f"worker_{name}_total") for name in TOKENS}


KINDS = ("prompt_tokens", "generation_tokens")


async def check_sums(observed: Observed, count: int) -> None:
    """Run the jobs, and compare the sums of their lines with both counters."""
    observed.process.line("the engine is ready", 300)
    async with Http(observed.gateway) as http:  # the worker takes jobs and serves its metrics
        await http.post("/runsync", {"input": {"prompt": "first", "sampling_params": {"max_tokens": 1}}})
    before = await counters(observed)
    ids = await run_jobs(observed.gateway, count)
    lines = {job_id: await asyncio.to_thread(observed.line_of, job_id) for job_id in ids}
    after = await counters(observed)
    outcomes = {one: sum(line["outcome"] == one for line in lines.values()) for one in ("completed", "cancelled")}
    assert len(lines) == count
    assert outcomes["completed"] > count / 2
    assert outcomes["cancelled"] > count / 10
    others = {job_id: line for job_id, line in lines.items() if line.get("tokens_from", "engine") != "engine"}
    assert others == {}
    sums = {name: sum(line.get(name, 0) for line in lines.values()) for name in TOKENS}
    grown = {name: after[name] - before[name] for name in TOKENS}
    assert sums == grown
    assert {name: after[f"worker {name}"] - before[f"worker {name}"] for name in TOKENS} == grown


@pytest.mark.timeout(60)
async def test_the_lines_of_jobs_add_up_to_the_echo_engines_counters() -> None:
    """Two hundred jobs of all kinds, forty of them cancelled."""
    with observed_worker(ECHO) as observed:
        await check_sums(observed, 200)


@pytest.mark.vllm
@pytest.mark.timeout(420)
async def test_the_lines_of_a_thousand_jobs_add_up_to_vllms_counters() -> None:
    """The same on the real engine, two hundred of them cancelled."""
    with observed_worker(REAL) as observed:
        await check_sums(observed, 1000)
