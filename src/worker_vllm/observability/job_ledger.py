"""The records of all jobs, from their start to their last fact. An ended record goes to every sink, once.

The engine reports the tokens of a job apart from its response, so the end of a job waits for that report, but not
longer than `USAGE_TIMEOUT_S`: an engine that has died reports nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from worker_vllm.observability.job_record import JobRecord, RequestUsage, Traffic
from worker_vllm.observability.trace_context import TraceContext

log = logging.getLogger(__name__)

USAGE_TIMEOUT_S = 2.0

Sink = Callable[[JobRecord], None]


def no_trace() -> TraceContext | None:
    """The trace of a job where nothing is traced."""
    return None


class JobLedger:
    """Opens and closes records. Create it inside a running event loop.

    Without `engine_reports` (an attached engine) no end waits for a report.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        engine_reports: bool = False,
        new_trace: Callable[[], TraceContext | None] = no_trace,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._sinks = tuple(sinks)
        self._engine_reports = engine_reports
        self._new_trace = new_trace
        self._by_tag: dict[str, JobRecord] = {}
        self._closing: dict[JobRecord, asyncio.TimerHandle] = {}

    def open(self, job_id: str, queue_delay_s: float | None = None) -> JobRecord:
        """The record of a job that starts now, after it waited `queue_delay_s` for a worker."""
        return JobRecord(
            job_id,
            trace=self._new_trace(),
            traffic=self._traffic,
            register=self._register,
            queue_delay_s=queue_delay_s,
        )

    def close(self, record: JobRecord) -> None:
        """The job is over, with success unless its record has another outcome.

        Its record goes to the sinks as soon as the engine has reported its tokens.
        """
        record.outcome = record.outcome or "completed"
        if record.ended_at is None:
            record.ended_at = time.monotonic()
        if not (self._engine_reports and record.waiting):
            self._finish(record)
        elif record not in self._closing:
            timer = asyncio.get_running_loop().call_later(USAGE_TIMEOUT_S, self._finish, record)
            self._closing[record] = timer

    def add_usage(self, usage: RequestUsage) -> None:
        """A report of the engine. One that names no known request belongs to none of these jobs, a warm-up say."""
        record = self._by_tag.get(usage.tag)
        if record is None:
            return
        record.add_usage(usage)
        if not record.waiting and record in self._closing:
            self._finish(record)

    def flush(self) -> None:
        """Finish every closed record now: the worker ends."""
        for record in list(self._closing):
            self._finish(record)

    def _register(self, tag: str, record: JobRecord) -> None:
        self._by_tag[tag] = record

    def _finish(self, record: JobRecord) -> None:
        timer = self._closing.pop(record, None)
        if timer is not None:
            timer.cancel()
        for tag in record.tags:
            self._by_tag.pop(tag, None)
        record.settle_tokens()
        for sink in self._sinks:
            try:
                sink(record)
            except Exception:
                log.exception("job=%s could not be recorded", record.job_id)
