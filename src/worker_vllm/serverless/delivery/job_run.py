"""One job, from the moment it was taken to its delivered result."""

from __future__ import annotations

import asyncio
import enum
import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from worker_vllm.errors import Timeout, WorkerError
from worker_vllm.jobs.output.error_events import error_events, error_text
from worker_vllm.jobs.output.output import Output
from worker_vllm.serverless import protocol
from worker_vllm.serverless.delivery.stream_sender import JobGone, JobStream, StreamBroken, StreamSender
from worker_vllm.serverless.job_policy import JobLimits

log = logging.getLogger(__name__)

Handler = Callable[[Mapping[str, Any]], AsyncGenerator[Output, None]]

Redact = Callable[[object], object]


def as_it_is(value: object) -> object:
    """No redaction: for a worker that knows no secret."""
    return value


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: every value it yielded, or the error that failed it."""

    values: Sequence[bytes] = ()
    error: WorkerError | None = None

    def body(self, job: protocol.Job, *, stop_pod: bool) -> bytes:
        """The job's final result as it is posted; `stop_pod` asks the platform to replace this worker."""
        if self.error is not None:
            return protocol.failed_body(error_text(self.error, job), stop_pod=stop_pod)
        return protocol.done_body(self.values, stop_pod=stop_pod)


class Phase(enum.Enum):
    """Where a job is: at work, delivering the last of its stream, or at its end."""

    RUNNING = enum.auto()
    LAST_WORDS = enum.auto()
    DONE = enum.auto()


class JobRun:
    """Runs the handler on one job. Cancelling the task that runs it posts nothing more.

    A stream that fails may take `last_words_s` to say so in-band.
    """

    def __init__(
        self,
        job: protocol.Job,
        handler: Handler,
        outbox: StreamSender,
        last_words_s: float,
        redact: Redact = as_it_is,
    ) -> None:
        self.job = job
        self.job_id: str = job["id"]
        self.limits = JobLimits.of(job)
        self._handler = handler
        self._redact = redact
        self._stream = JobStream(self.job_id, outbox)
        self._last_words_s = last_words_s
        self._phase = Phase.RUNNING
        self._clock: asyncio.Timeout | None = None  # while the handler works
        self._end: WorkerError | None = None

    def end(self, error: WorkerError) -> None:
        """Stop the work now and let the job fail with `error`; a job whose work is over ends as it would have."""
        if self._phase is not Phase.RUNNING or self._end is not None:
            return
        if self._clock is None:
            self._end = error  # its task has not begun yet
        elif not self._clock.expired():
            self._end = error
            self._clock.reschedule(0)

    async def outcome(self) -> Outcome:
        """Do the work and deliver its stream; what is left to post is the final result. Raises JobGone."""
        try:
            return Outcome(values=await self._produce())
        except WorkerError as error:
            return Outcome(error=await self._after_last_words(error))
        except StreamBroken as broken:
            return Outcome(error=await self._fail_in_band(WorkerError(str(broken))))
        except TimeoutError:
            return Outcome(error=await self._fail_in_band(self._end or self._out_of_time()))
        finally:
            self._phase = Phase.DONE
            self._stream.abandon()

    async def _produce(self) -> list[bytes]:
        stream = self._stream
        most_s = min(self.limits.execution_s or math.inf, self.limits.life_s)
        clock = self._clock = asyncio.timeout(0 if self._end is not None else most_s)
        try:
            async with clock:
                async with aclosing(self._handler(self.job)) as outputs:
                    async for output in outputs:
                        await stream.put(output)
                await stream.finish()
        except (WorkerError, StreamBroken, JobGone):
            raise
        except TimeoutError:
            if clock.expired():
                raise
            raise WorkerError("the worker waited in vain for something inside itself") from None
        except Exception as error:
            log.exception("job=%s failed inside the worker", self.job_id)
            raise WorkerError(f"internal error of the worker: {type(error).__name__}: {error}") from error
        finally:
            self._phase = Phase.LAST_WORDS
        return stream.values

    def _out_of_time(self) -> WorkerError:
        if (self.limits.execution_s or math.inf) > self.limits.life_s:
            raise JobGone("its ttl is over")
        return Timeout(f"the job ran longer than its executionTimeout of {self.limits.execution_s:g} s")

    async def _after_last_words(self, error: WorkerError) -> WorkerError:
        """Wait until what the handler said before it raised `error` is delivered."""
        error.redact(self._redact)
        await self._briefly(self._stream.finish())
        return error

    async def _fail_in_band(self, error: WorkerError) -> WorkerError:
        error.redact(self._redact)
        await self._briefly(self._stream.break_off(error_events(error, self.job)))
        return error

    async def _briefly(self, last_words: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._last_words_s):
                await last_words
        except (StreamBroken, TimeoutError) as failed:
            reason = str(failed) or f"not accepted within {self._last_words_s:g} s"
            log.warning("job=%s its last piece could not be delivered: %s", self.job_id, reason)
