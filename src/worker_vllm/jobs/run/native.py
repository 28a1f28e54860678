"""Runs a native job on the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from worker_vllm.errors import EngineError, WorkerError
from worker_vllm.jobs.output import sse
from worker_vllm.jobs.output.native_items import ItemStream, single_item
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.sse_relay import EventRelay
from worker_vllm.jobs.request.best_of import RankedAnswer
from worker_vllm.jobs.request.engine_body import (
    CONTINUOUS_USAGE,
    as_completion,
    generation_body,
    generation_route,
    tokenize_request,
)
from worker_vllm.jobs.request.engine_request import json_request
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.run.engine_calls import EngineCalls, event_reader


async def native_outputs(calls: EngineCalls, job: NativeJob) -> AsyncGenerator[Output, None]:
    """The job's items: one, or with `stream` one per batch.

    A job whose sequences are ranked generates all of them first and streams the best ones afterwards.
    """
    body = generation_body(job, await _prompt(calls, job))
    route = generation_route(job)
    if ranking := job.sampling.ranking:
        result = await calls.generate_and_rank(route, body, ranking)
        for output in _ranked_outputs(job, result):
            yield output
    elif not job.stream:
        answer = await calls.json_object(json_request(route.path, body))
        yield Output(single_item(as_completion(answer), job.shown), streamed=False)
    else:
        async with aclosing(_streamed_items(calls, job, body)) as items:
            async for item in items:
                yield Output(item)


async def _prompt(calls: EngineCalls, job: NativeJob) -> str | list[int] | None:
    """The job's prompt unchanged, or its messages rendered by the model's chat template, as token ids."""
    if job.messages is None or job.needs_chat:
        return job.prompt
    tokens = (await calls.json_object(tokenize_request(job))).get("tokens")
    if not isinstance(tokens, list):
        raise EngineError("/tokenize: expected a list of tokens from the engine, got none; see the engine's log")
    return tokens


async def _streamed_items(calls: EngineCalls, job: NativeJob, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
    """The items of a stream. One that fails yields its pending tokens before the error is raised."""
    route = generation_route(job)
    streaming = {**body, "stream": True, "stream_options": CONTINUOUS_USAGE}
    async with calls.open(json_request(route.path, streaming)) as response:
        relay, stream = EventRelay(route), ItemStream(job.sampling.n, job.batches, job.shown)
        failure: WorkerError | None = None
        note = event_reader()
        try:
            async for chunk in response.chunks():
                run = relay.feed(chunk)
                note(run)
                for item in _items(stream, run):
                    yield item
                if relay.failure is not None:
                    raise relay.failure
            for item in _items(stream, relay.finish()):
                yield item
        except WorkerError as error:
            failure = error
    last = stream.finish()
    if last is not None:
        yield last
    if failure is not None:
        raise failure


def _items(stream: ItemStream, run: bytes) -> Iterator[bytes]:
    for event in sse.events(run):
        yield from stream.feed(as_completion(sse.parsed(event) or {}))


def _ranked_outputs(job: NativeJob, result: RankedAnswer) -> Iterator[Output]:
    answer = as_completion(result.answer)
    if not job.stream:
        yield Output(single_item(answer, job.shown), streamed=False)
        return
    stream = ItemStream(job.sampling.n, job.batches, job.shown)
    for choice, count in zip(answer["choices"], result.counts, strict=True):
        usage = {**answer["usage"], "completion_tokens": count}
        for item in stream.feed({"choices": [choice], "usage": usage}):
            yield Output(item)
    last = stream.finish()
    if last is not None:
        yield Output(last)
