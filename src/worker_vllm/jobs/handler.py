"""The entry point for jobs: a raw job goes in, its outputs come out, and every failure is raised as a WorkerError."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from worker_vllm.engine.interface import Engine
from worker_vllm.errors import EngineError, EngineReportedError, RequestError, WorkerError
from worker_vllm.jobs.output.error_events import StreamAlreadyFailed, error_body, in_band_error
from worker_vllm.jobs.output.flag_names import add_variable_names
from worker_vllm.jobs.output.output import Output
from worker_vllm.jobs.output.size_limits import ResultMeter
from worker_vllm.jobs.request.engine_body import generation_route
from worker_vllm.jobs.request.native import NativeJob
from worker_vllm.jobs.request.parse import RouteJob, engine_fields, parse_job, policy_fields
from worker_vllm.jobs.request.request_limits import find_exceeded_limit
from worker_vllm.jobs.request.request_policy import find_refusal
from worker_vllm.jobs.request.routes import MODELS, route_not_served
from worker_vllm.jobs.run.engine_calls import EngineCalls
from worker_vllm.jobs.run.model_cards import without_paths
from worker_vllm.jobs.run.native import native_outputs
from worker_vllm.jobs.run.route import RouteRunner
from worker_vllm.jobs.run.served_models import ServedModels
from worker_vllm.observability.job_record import current_record
from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import EngineKind, Settings

log = logging.getLogger(__name__)

NO_SUCH_ROUTE = '{"detail":"Not Found"}'  # the engine's 404 for a route that its model cannot serve


class JobHandler:
    """Runs any number of jobs at a time on one engine. A running job holds only its own engine response."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._settings = settings.jobs
        self._limits = settings.limits
        self._policy = settings.policy
        # The last served name is the repository id, after any chosen names. An attached engine's id is unknown here.
        attached = settings.engine.kind is EngineKind.ATTACH
        self._served = None if attached else settings.engine.served_names[-1]
        self._names = () if attached else settings.engine.served_names
        self._redact = Redactor(settings.secrets).value
        self._calls = EngineCalls(engine)
        self._models = ServedModels(self._calls)
        self._routes = RouteRunner(self._calls, self._models, settings.jobs)

    async def handle(self, job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
        """The outputs of a job as they arrive. Raises WorkerError when the job fails.

        A failing OpenAI stream yields an error event before the error is raised. Closing or cancelling this generator
        aborts the job inside the engine at once. The engine is read only while the caller waits for an output.
        """
        parsed: NativeJob | RouteJob | None = None
        meter = ResultMeter()
        try:
            parsed = parse_job(job, self._settings)
            self._describe(parsed, job)
            self._check_limits(parsed)
            async with aclosing(self._outputs(parsed)) as outputs:
                async for output in outputs:
                    meter.add(output)
                    yield output
            return
        except StreamAlreadyFailed as failed:
            error = failed.error
            error.redact(self._redact)
            _note_failure(error)
        except Exception as failure:
            error = await self._worker_error(failure, parsed)
            error.redact(self._redact)
            _note_failure(error)
            if isinstance(parsed, RouteJob) and parsed.stream:
                yield in_band_error(error, job, raw=self._settings.raw_openai_output)
        if not self._settings.inline_errors or not isinstance(parsed, RouteJob):
            raise error
        if not parsed.stream:
            yield Output(error_body(error, job), streamed=False)

    def _describe(self, parsed: NativeJob | RouteJob, job: Mapping[str, Any]) -> None:
        """Note in the job's record what it asks for."""
        if (record := current_record.get()) is None:
            return
        record.streamed = parsed.stream
        if isinstance(parsed, NativeJob):
            record.kind, record.route = "native", generation_route(parsed).path
        else:
            record.kind = "openai" if job["input"].get("openai_route") else "route"
            record.route = parsed.route.path
        asked = _model_of(parsed)
        record.note_model(asked if isinstance(asked, str) else None, self._names)

    def _check_limits(self, job: NativeJob | RouteJob) -> None:
        """Raise RequestError for a job that exceeds a limit of one request, or that the policy refuses."""
        route = job.route if isinstance(job, RouteJob) else None
        if refusal := find_refusal(policy_fields(job), self._policy, route):
            raise RequestError(str(refusal), param=refusal.param)
        if found := find_exceeded_limit(engine_fields(job), self._limits):
            raise RequestError(str(found), param=found.param)

    def _outputs(self, job: NativeJob | RouteJob) -> AsyncGenerator[Output, None]:
        if isinstance(job, NativeJob):
            return native_outputs(self._calls, job)
        outputs = self._routes.outputs(job)
        return without_paths(outputs, self._served) if job.route.path == MODELS else outputs

    async def _worker_error(self, error: Exception, job: NativeJob | RouteJob | None) -> WorkerError:
        """The error for the caller: a 404 for a model lists the served names, a bug in the worker is a 500."""
        if isinstance(error, RecursionError):
            return RequestError(
                "the request is nested too deeply to be passed on: expected a few hundred levels at most"
            )
        if not isinstance(error, WorkerError):
            log.error("a job failed because of a bug in the worker", exc_info=error)
            return WorkerError(f"internal error of the worker: {type(error).__name__}: {error}")
        if job is not None and error.status == 404:
            if isinstance(error, EngineError) and error.message.endswith(NO_SUCH_ROUTE):
                return route_not_served(job.route if isinstance(job, RouteJob) else generation_route(job))
            if isinstance(error, EngineReportedError):
                error = await self._models.explain(error, _model_of(job))
        if isinstance(error, EngineReportedError) and (message := add_variable_names(error.message)) != error.message:
            return error.with_message(message)
        return error


def _note_failure(error: WorkerError) -> None:
    if (record := current_record.get()) is not None:
        record.fail(error)


def _model_of(job: NativeJob | RouteJob) -> object:
    if isinstance(job, NativeJob):
        return job.model
    return job.body.get("model") if isinstance(job.body, Mapping) else None
