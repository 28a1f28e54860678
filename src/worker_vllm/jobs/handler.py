"""The worker core's front: a raw job in, its outputs out, every failure a WorkerError that was also told in-band."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from worker_vllm.engine.interface import Engine
from worker_vllm.errors import EngineAnswer, EngineError, RequestError, WorkerError
from worker_vllm.jobs.output.error_events import error_body, in_band_error
from worker_vllm.jobs.output.flag_names import with_variables
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.size_limits import ResultMeter
from worker_vllm.jobs.request.engine_body import generation_route
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.request.parse import RouteJob, asked_for, parse_job
from worker_vllm.jobs.request.request_limits import excess
from worker_vllm.jobs.request.routes import MODELS, unable
from worker_vllm.jobs.run.engine_calls import EngineCalls
from worker_vllm.jobs.run.model_cards import without_paths
from worker_vllm.jobs.run.native import native_outputs
from worker_vllm.jobs.run.route import RouteRunner
from worker_vllm.jobs.run.served_models import ServedModels
from worker_vllm.jobs.run.stream_failure import StreamAlreadyFailed
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import EngineKind, Settings

log = logging.getLogger(__name__)

NO_SUCH_ROUTE = '{"detail":"Not Found"}'  # what the engine says of a route that its model cannot serve


class JobHandler:
    """Runs jobs on an engine. Any number at a time; each one holds nothing but its own engine answer."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._settings = settings.jobs
        self._limits = settings.limits
        # The repository id comes last, behind the names chosen for it; an attached engine's model is its own affair.
        attached = settings.engine.kind is EngineKind.ATTACH
        self._served = None if attached else settings.engine.served_names[-1]
        self._redact = Redactor(settings.secrets).value
        self._exchange = EngineCalls(engine)
        self._models = ServedModels(self._exchange)
        self._routes = RouteRunner(self._exchange, self._models, settings.jobs)

    async def handle(self, job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
        """The outputs of a job as they come; raises WorkerError when it has failed.

        A stream that fails says so in an event of its own first. Closing or cancelling this generator aborts the
        job inside the engine at once. Nothing is read from the engine while nobody asks for the next output.
        """
        parsed: NativeJob | RouteJob | None = None
        meter = ResultMeter()
        try:
            parsed = parse_job(job, self._settings)
            self._refuse_excess(parsed)
            async with aclosing(self._outputs(parsed)) as outputs:
                async for output in outputs:
                    meter.add(output)
                    yield output
            return
        except StreamAlreadyFailed as told:
            error = told.error
            error.redact(self._redact)
        except Exception as failure:
            error = await self._explained(failure, parsed)
            error.redact(self._redact)
            if isinstance(parsed, RouteJob) and parsed.stream:
                yield in_band_error(error, job, raw=self._settings.raw_openai_output)
        if not self._settings.inline_errors or not isinstance(parsed, RouteJob):
            raise error
        if not parsed.stream:
            yield Output(error_body(error, job), streamed=False)

    def _refuse_excess(self, job: NativeJob | RouteJob) -> None:
        """Raise RequestError for a job that asks for more than one job may."""
        if found := excess(asked_for(job), self._limits, self._settings.max_logprobs):
            raise RequestError(str(found), param=found.param)

    def _outputs(self, job: NativeJob | RouteJob) -> AsyncGenerator[Output, None]:
        if isinstance(job, NativeJob):
            return native_outputs(self._exchange, job)
        outputs = self._routes.outputs(job)
        return without_paths(outputs, self._served) if job.route.path == MODELS else outputs

    async def _explained(self, error: Exception, job: NativeJob | RouteJob | None) -> WorkerError:
        """What the caller is told: a 404 for a model's name lists the right ones, a fault of our own is a 500."""
        if isinstance(error, RecursionError):
            return RequestError(
                "the request is nested too deeply to be passed on: expected a few hundred levels at most"
            )
        if not isinstance(error, WorkerError):
            log.error("a job failed for a reason that is our own", exc_info=error)
            return WorkerError(f"internal error of the worker: {type(error).__name__}: {error}")
        if job is not None and error.status == 404:
            if isinstance(error, EngineError) and error.message.endswith(NO_SUCH_ROUTE):
                return unable(job.route if isinstance(job, RouteJob) else generation_route(job))
            if isinstance(error, EngineAnswer):
                error = await self._models.explain(error, _model_of(job))
        if isinstance(error, EngineAnswer) and (message := with_variables(error.message)) != error.message:
            return error.reworded(message)
        return error


def _model_of(job: NativeJob | RouteJob) -> object:
    if isinstance(job, NativeJob):
        return job.model
    return job.body.get("model") if isinstance(job.body, Mapping) else None
