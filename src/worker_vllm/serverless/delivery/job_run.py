"""One job, from the moment it was taken until only its final result is left to post."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import Timeout, WorkerError
from worker_vllm.jobs.output.error_events import error_events, error_text
from worker_vllm.jobs.output.output import Output
from worker_vllm.observability.job_record import JobRecord
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.stream_sender import JobGone, JobStream, StreamBroken, StreamSender
from worker_vllm.serverless.job_policy import JobLimits

log = logging.getLogger(__name__)

STOPPED_BY_WORKER = ("stopped", "worker")  # outcome, and by whom
TIME_IS_OVER = ("expired", "time limit")

Handler = Callable[[Mapping[str, Any]], AsyncGenerator[Output, None]]

Redact = Callable[[object], object]


def unredacted(value: object) -> object:
    """The value unchanged: the redaction of a worker that knows no secret."""
    return value


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a job ended: every value it yielded, or the error that failed it."""

    values: Sequence[bytes] = ()
    error: WorkerError | None = None

    def body(self, job: protocol.Job, *, stop_pod: bool) -> tuple[bytes, ...]:
        """The job's final result as it is posted, in parts; `stop_pod` asks the platform to replace this worker."""
        if self.error is not None:
            return protocol.failed_body(error_text(self.error, job), stop_pod=stop_pod)
        return protocol.done_body(self.values, stop_pod=stop_pod)


class Phase(enum.Enum):
    """Where a job is: its handler works, the last events of its stream are delivered, or it is over."""

    RUNNING = enum.auto()
    FINAL_EVENTS = enum.auto()
    DONE = enum.auto()


class JobRun:
    """Runs the handler on one job. When the task that runs it is cancelled, nothing more is posted."""

    def __init__(
        self,
        job: protocol.Job,
        handler: Handler,
        sender: StreamSender,
        redact: Redact = unredacted,
        record: JobRecord | None = None,
    ) -> None:
        self.job = job
        self.record = record or JobRecord(job["id"])
        self.job_id: str = job["id"]
        self.limits = JobLimits.of(job)
        self._handler = handler
        self._redact = redact
        self._stream = JobStream(self.job_id, sender)
        self._phase = Phase.RUNNING
        self._deadline: asyncio.Timeout | None = None  # while the handler works
        self._failure: WorkerError | None = None

    def fail(self, error: WorkerError) -> None:
        """Stop the work now and let the job fail with `error`. Does nothing once the work is over or has failed."""
        if self._phase is not Phase.RUNNING or self._failure is not None:
            return
        if self._deadline is None:
            self._failure = error  # the task of this run has not started yet
        elif not self._deadline.expired():
            self._failure = error
            self._deadline.reschedule(0)

    async def run(self, final_events_s: float) -> RunOutcome:
        """Do the work and deliver its stream; the final result is left to post. Raises JobGone.

        After a failure the stream has `final_events_s` to deliver its last events, the error among them.
        """
        try:
            return RunOutcome(values=await self._produce())
        except WorkerError as error:
            self.record.fail(error)
            return RunOutcome(error=await self._fail_after_stream(error, final_events_s))
        except StreamBroken as broken:
            self.record.fail(lost := WorkerError(str(broken)))
            return RunOutcome(error=await self._fail_in_band(lost, final_events_s))
        except TimeoutError:
            stopped = self._failure is not None
            self.record.end(*(STOPPED_BY_WORKER if stopped else TIME_IS_OVER))
            return RunOutcome(error=await self._fail_in_band(self._failure or self._timed_out(), final_events_s))
        finally:
            self._phase = Phase.DONE
            self._stream.abandon()

    async def _produce(self) -> list[bytes]:
        stream = self._stream
        limit_s = min(self.limits.execution_timeout_s or math.inf, self.limits.ttl_s)
        deadline = self._deadline = asyncio.timeout(0 if self._failure is not None else limit_s)
        try:
            async with deadline:
                async with aclosing(self._handler(self.job)) as outputs:
                    async for output in outputs:
                        await stream.put(output)
                await stream.finish()
        except (WorkerError, StreamBroken, JobGone):
            raise
        except TimeoutError:
            if deadline.expired():
                raise
            raise WorkerError("internal error of the worker: an internal operation timed out") from None
        except Exception as error:
            log.exception("job=%s failed with an internal error of the worker", self.job_id)
            raise WorkerError(f"internal error of the worker: {type(error).__name__}: {error}") from error
        finally:
            self._phase = Phase.FINAL_EVENTS
            self.record.generated_at = time.monotonic()
        return stream.values

    def _timed_out(self) -> WorkerError:
        if (self.limits.execution_timeout_s or math.inf) > self.limits.ttl_s:
            raise JobGone("its ttl is over")
        return Timeout(f"the job ran longer than its executionTimeout of {self.limits.execution_timeout_s:g} s")

    async def _fail_after_stream(self, error: WorkerError, limit_s: float) -> WorkerError:
        """Deliver what the handler yielded before it raised `error`."""
        error.redact(self._redact)
        await self._deliver_within(limit_s, self._stream.finish())
        return error

    async def _fail_in_band(self, error: WorkerError, limit_s: float) -> WorkerError:
        """End the stream with error events."""
        error.redact(self._redact)
        await self._deliver_within(limit_s, self._stream.fail(error_events(error, self.job)))
        return error

    async def _deliver_within(self, limit_s: float, final_events: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await final_events
        except (StreamBroken, TimeoutError) as failed:
            reason = str(failed) or f"not accepted within {limit_s:g} s"
            log.warning("job=%s its last piece could not be delivered: %s", self.job_id, reason)
