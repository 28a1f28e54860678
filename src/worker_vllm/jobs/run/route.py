"""Runs a job for one of the engine's own routes. The body is passed on, and the response is returned unparsed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.errors import WorkerError
from worker_vllm.jobs.output.engine_answers import response_as_json
from worker_vllm.jobs.output.error_events import StreamAlreadyFailed
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.sse_relay import EventRelay, unredacted
from worker_vllm.jobs.output.stream_shape import FixedBatches, PassThrough, StreamShape
from worker_vllm.jobs.output.synthetic_stream import synthetic_events
from worker_vllm.jobs.request.best_of import Ranking
from worker_vllm.jobs.request.engine_request import json_request
from worker_vllm.jobs.request.multipart import multipart_request
from worker_vllm.jobs.request.openai_compat import lacks_model, translate_body
from worker_vllm.jobs.request.parse import RouteJob
from worker_vllm.jobs.request.routes import Family, Route
from worker_vllm.jobs.run.engine_calls import EngineCalls, event_reader, note_response, read_body
from worker_vllm.jobs.run.served_models import ServedModels
from worker_vllm.json_bytes import dump
from worker_vllm.settings.types import JobSettings


@dataclass(frozen=True, slots=True)
class RouteRunner:
    """Runs jobs for the engine's routes."""

    calls: EngineCalls
    models: ServedModels
    settings: JobSettings
    redact: Callable[[object], object] = unredacted

    async def outputs(self, job: RouteJob) -> AsyncGenerator[Output, None]:
        """The response as one JSON value, or a stream as server-sent events or lists of their parsed values.

        Raises StreamAlreadyFailed for an error that the engine reported inside the stream.
        """
        body, ranking = await self._translate(job)
        if ranking is not None:
            for output in await self._ranked(job, body, ranking):
                yield output
            return
        async with self.calls.open(_engine_request(job.route, body)) as response:
            headers = response.headers
            kind = headers.get("content-type", "")
            if not kind.startswith("text/event-stream"):
                content = await read_body(response)
                note_response(content)
                yield Output(response_as_json(kind, content, headers.get("metadata")), streamed=False)
                return
            # One generator between the socket and the job's reader: each further one would add time to every token.
            relay, shape, note = EventRelay(job.route, self.redact), self._shape(job), event_reader()
            try:
                async for chunk in response.chunks():
                    if run := relay.feed(chunk):
                        note(run)
                        for output in shape.feed(run):
                            yield output
                        if relay.failure is not None:
                            break
                else:
                    if rest := relay.finish():
                        for output in shape.feed(rest):
                            yield output
            except WorkerError:
                for output in shape.finish():
                    yield output
                raise
            for output in shape.finish():
                yield output
            if relay.failure is not None:
                raise StreamAlreadyFailed(relay.failure)

    async def _translate(self, job: RouteJob) -> tuple[Any, Ranking | None]:
        if not isinstance(job.body, Mapping):
            return job.body, None
        body, ranking = translate_body(job.route, job.body, self.settings.max_logprobs)
        if lacks_model(job.route, body) and (name := await self.models.default()):
            body = {**body, "model": name}
        return body, ranking

    async def _ranked(self, job: RouteJob, body: Mapping[str, Any], ranking: Ranking) -> list[Output]:
        result = await self.calls.generate_and_rank(job.route, body, ranking)
        if not job.stream:
            return [Output(dump(result.answer), streamed=False)]
        shape = self._shape(job)
        return [*shape.feed(b"".join(synthetic_events(result.answer, job.body))), *shape.finish()]

    def _shape(self, job: RouteJob) -> StreamShape:
        if job.batches is None:
            return PassThrough()
        return FixedBatches(job.batches, raw=self.settings.raw_openai_output)


def _engine_request(route: Route, body: Any) -> EngineRequest:
    if body is None:
        return EngineRequest(route.method, route.path)
    if route.family is Family.AUDIO:
        return multipart_request(route.path, body)
    return json_request(route.path, body)
