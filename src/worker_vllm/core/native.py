"""A native job on the engine: always completed as text or tokens, so that no chat parser of the server hides any."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from worker_vllm.core.exchange import answer_json, answered
from worker_vllm.core.relay import runs
from worker_vllm.engine.base import Engine
from worker_vllm.jobs import sse
from worker_vllm.jobs.ask import json_ask
from worker_vllm.jobs.items import ItemStream, whole_item
from worker_vllm.jobs.native import NativeJob
from worker_vllm.jobs.output import Output
from worker_vllm.jobs.routes import COMPLETIONS, TOKENIZE, find_route


async def native_outputs(engine: Engine, job: NativeJob) -> AsyncGenerator[Output, None]:
    """The job's items: one, or with `stream` as many as its batch sizes make."""
    body: dict[str, Any] = {"prompt": await _prompt(engine, job), **job.sampling.fields}
    if not job.stream:
        answer = await answer_json(engine, json_ask(COMPLETIONS, body))
        yield Output(whole_item(answer), streamed=False)
        return
    async with aclosing(_streamed_items(engine, job, body)) as items:
        async for item in items:
            yield Output(item)


async def _prompt(engine: Engine, job: NativeJob) -> str | list[int]:
    """The prompt as it stands, or the tokens that the model's chat template makes of the messages."""
    if job.messages is None:
        return job.prompt or ""
    answer = await answer_json(engine, json_ask(TOKENIZE, {"messages": job.messages}))
    tokens: list[int] = answer["tokens"]
    return tokens


async def _streamed_items(engine: Engine, job: NativeJob, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    body["stream"] = True
    body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    stream = ItemStream(job.sampling.n, job.batches)
    async with answered(engine, json_ask(COMPLETIONS, body)) as response:
        async with aclosing(runs(response, find_route(COMPLETIONS))) as incoming:
            async for run in incoming:
                for event in sse.events(run):
                    if value := sse.parsed(event):
                        for item in stream.feed(value):
                            yield item
    last = stream.finish()
    if last is not None:
        yield last
