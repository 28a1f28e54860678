"""A job for one of the engine's own routes: the body goes through, the answer comes back unparsed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from worker_vllm.core.exchange import answered
from worker_vllm.core.relay import runs
from worker_vllm.engine.base import Engine
from worker_vllm.jobs import sse
from worker_vllm.jobs.answers import value_of
from worker_vllm.jobs.ask import Ask, json_ask
from worker_vllm.jobs.batching import BatchCounter, BatchPolicy
from worker_vllm.jobs.jsontext import dump
from worker_vllm.jobs.output import Output
from worker_vllm.jobs.parse import RouteJob


async def routed_outputs(engine: Engine, job: RouteJob, *, raw: bool) -> AsyncGenerator[Output, None]:
    """The answer as one JSON value, or a stream as server-sent events (`raw`) or lists of their parsed values."""
    ask = Ask("GET", job.route.path) if job.body is None else json_ask(job.route.path, job.body)
    async with answered(engine, ask) as response:
        kind = response.headers.get("content-type", "application/json")
        if not kind.startswith("text/event-stream"):
            yield Output(value_of(kind, await response.read()), streamed=False)
            return
        async with aclosing(runs(response, job.route)) as incoming:
            if job.batches is None:
                async for run in incoming:
                    yield Output(run, sse=True, mergeable=True)
                return
            async with aclosing(_batched(incoming, job.batches, raw=raw)) as outputs:
                async for output in outputs:
                    yield output


async def _batched(
    incoming: AsyncGenerator[bytes, None], policy: BatchPolicy, *, raw: bool
) -> AsyncGenerator[Output, None]:
    """Exactly the sizes asked for, counted in events: the specification's schedule for OpenAI streams.

    Where events are parsed, `[DONE]` is neither part of an item nor counted.
    """
    counter = BatchCounter(policy)
    batch: list[bytes] = []
    async for run in incoming:
        for event in sse.events(run):
            if not raw and sse.data_of(event) == b"[DONE]":
                continue
            batch.append(event)
            if counter.add(1):
                yield _joined(batch, raw=raw)
                batch = []
    if batch:
        yield _joined(batch, raw=raw)


def _joined(batch: list[bytes], *, raw: bool) -> Output:
    if raw:
        return Output(b"".join(batch), sse=True)
    return Output(dump([sse.parsed(event) for event in batch]))
