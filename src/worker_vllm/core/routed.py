"""A job for one of the engine's own routes: the body goes through, the answer comes back unparsed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from worker_vllm.core.exchange import Exchange
from worker_vllm.core.models import ServedModels
from worker_vllm.core.ranked import ranked_answer
from worker_vllm.core.relay import ToldError, runs
from worker_vllm.errors import WorkerError
from worker_vllm.jobs.answers import value_of
from worker_vllm.jobs.ask import Ask, json_ask
from worker_vllm.jobs.batching import BatchPolicy
from worker_vllm.jobs.eventbatches import EventBatches
from worker_vllm.jobs.jsontext import dump
from worker_vllm.jobs.limits import RUN_BYTES, cut_run
from worker_vllm.jobs.multipart import multipart_ask
from worker_vllm.jobs.openai import lacks_model, translate_body
from worker_vllm.jobs.output import Output
from worker_vllm.jobs.parse import RouteJob
from worker_vllm.jobs.replay import replayed
from worker_vllm.jobs.routes import Family, Route
from worker_vllm.settings.model import JobSettings


@dataclass(frozen=True, slots=True)
class RouteRunner:
    """Runs jobs for the engine's routes."""

    exchange: Exchange
    models: ServedModels
    settings: JobSettings

    async def outputs(self, job: RouteJob) -> AsyncGenerator[Output, None]:
        """The answer as one JSON value, or a stream as server-sent events or lists of their parsed values."""
        body, ranking = job.body, None
        if isinstance(body, Mapping):
            body, ranking = translate_body(job.route, body, self.settings.max_logprobs)
            if lacks_model(job.route, body) and (name := await self.models.default()):
                body = {**body, "model": name}
        if ranking is None:
            async with aclosing(self._passed(job, body)) as outputs:
                async for output in outputs:
                    yield output
            return
        result = await ranked_answer(self.exchange, job.route, body, ranking)
        if not job.stream:
            yield Output(dump(result.answer), streamed=False)
            return
        for output in self._replayed(job, result.answer):
            yield output

    async def _passed(self, job: RouteJob, body: Any) -> AsyncGenerator[Output, None]:
        async with self.exchange.open(_ask(job.route, body)) as response:
            kind = response.headers.get("content-type", "application/json")
            if not kind.startswith("text/event-stream"):
                yield Output(value_of(kind, await response.read()), streamed=False)
                return
            async with aclosing(runs(response, job.route)) as incoming:
                shaped = _merging(incoming) if job.batches is None else self._batched(incoming, job.batches)
                async with aclosing(shaped) as outputs:
                    async for output in outputs:
                        yield output

    async def _batched(
        self, incoming: AsyncGenerator[bytes, None], policy: BatchPolicy
    ) -> AsyncGenerator[Output, None]:
        """The exact schedule; what is still pending when the stream fails is sent before the failure is told."""
        batches = EventBatches(policy, raw=self.settings.raw_openai_output)
        failure: Exception | None = None
        try:
            async for run in incoming:
                for output in batches.feed(run):
                    yield output
        except (ToldError, WorkerError) as error:
            failure = error
        for output in batches.finish():
            yield output
        if failure is not None:
            raise failure

    def _replayed(self, job: RouteJob, answer: Mapping[str, Any]) -> Iterator[Output]:
        run = b"".join(replayed(answer, job.body))
        if job.batches is None:
            yield from _pieces(run)
            return
        batches = EventBatches(job.batches, raw=self.settings.raw_openai_output)
        yield from batches.feed(run)
        yield from batches.finish()


async def _merging(incoming: AsyncGenerator[bytes, None]) -> AsyncGenerator[Output, None]:
    async for run in incoming:
        if len(run) <= RUN_BYTES:
            yield Output(run, sse=True, mergeable=True)
        else:
            for output in _pieces(run):
                yield output


def _pieces(run: bytes) -> Iterator[Output]:
    return (Output(part, sse=True, mergeable=True) for part in cut_run(run))


def _ask(route: Route, body: Any) -> Ask:
    if body is None:
        return Ask(route.method, route.path)
    if route.family is Family.AUDIO:
        return multipart_ask(route.path, body)
    return json_ask(route.path, body)
