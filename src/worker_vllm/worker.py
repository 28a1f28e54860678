"""The worker core's front: a raw job in, its outputs out, every failure a WorkerError that was also told in-band."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from worker_vllm.core.native import native_outputs
from worker_vllm.core.relay import ToldError
from worker_vllm.core.routed import routed_outputs
from worker_vllm.engine.base import Engine
from worker_vllm.errors import WorkerError
from worker_vllm.jobs.native import NativeJob
from worker_vllm.jobs.output import Output
from worker_vllm.jobs.parse import RouteJob, parse_job
from worker_vllm.jobs.told import told_in_band
from worker_vllm.settings.model import Settings

log = logging.getLogger(__name__)


class Worker:
    """Runs jobs on an engine. Any number at a time; each one holds nothing but its own engine answer."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings

    async def handle(self, job: Mapping[str, Any]) -> AsyncGenerator[Output, None]:
        """The outputs of a job as they come; raises WorkerError when it has failed.

        A stream that fails says so in an event of its own first. Closing or cancelling this generator aborts the
        job inside the engine at once. Nothing is read from the engine while nobody asks for the next output.
        """
        parsed: NativeJob | RouteJob | None = None
        try:
            parsed = parse_job(job, self._settings.jobs)
            async with aclosing(self._outputs(parsed)) as outputs:
                async for output in outputs:
                    yield output
        except ToldError as told:
            error = told.error
        except WorkerError as failure:
            error = failure
            if isinstance(parsed, RouteJob) and parsed.stream:
                yield told_in_band(error, parsed, raw=self._settings.jobs.raw_openai_output)
        except Exception as bug:
            log.exception("a job failed for a reason that is our own")
            raise WorkerError(f"internal error of the worker: {type(bug).__name__}: {bug}") from bug
        else:
            return
        if not self._settings.jobs.inline_errors or not isinstance(parsed, RouteJob):
            raise error
        if not parsed.stream:
            yield Output(error.to_body().encode(), streamed=False)

    def _outputs(self, job: NativeJob | RouteJob) -> AsyncGenerator[Output, None]:
        if isinstance(job, NativeJob):
            return native_outputs(self._engine, job)
        return routed_outputs(self._engine, job, raw=self._settings.jobs.raw_openai_output)
