"""What watches the jobs of one worker process: the ledger of records, and behind it log, metrics and traces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from worker_vllm.engine.client.metrics import fetch_metrics
from worker_vllm.engine.interface import EngineState, ManagedEngine
from worker_vllm.engine.supervision.supervisor import Supervisor
from worker_vllm.modes.http_requests import HttpRequests
from worker_vllm.observability.engine_reports import EngineReports
from worker_vllm.observability.job_ledger import JobLedger, Sink
from worker_vllm.observability.job_log import write_job_line
from worker_vllm.observability.job_record import Traffic
from worker_vllm.observability.metric_names import Metric, Served
from worker_vllm.observability.tracing_settings import tracing_settings
from worker_vllm.settings.types import Settings

if TYPE_CHECKING:
    from worker_vllm.observability.worker_metrics import WorkerMetrics

Gauges = Mapping[Metric, Callable[[], float]]


class JobObservation:
    """Built with the engine, before it runs; `expose` serves the metrics, `close` flushes what waits.

    What is not configured is not imported: prometheus-client without METRICS_ADDRESS, OpenTelemetry without an
    endpoint.
    """

    def __init__(
        self, settings: Settings, engine: ManagedEngine, mode: Served, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._address = settings.metrics_address
        self._engine = engine
        self.receipt: Callable[[], Mapping[str, Any] | None] = lambda: None  # of the engine's last start
        self._metrics: WorkerMetrics | None = None
        sinks: list[Sink] = [write_job_line]
        traffic = Traffic()
        if self._address is not None:
            self._metrics = metrics = worker_metrics(mode, traffic, engine)
            sinks.append(metrics.job_ended)
        self.tracing = tracing_settings(environment)
        self._close_traces: Callable[[], None] = lambda: None
        if self.tracing is not None:
            from worker_vllm.observability.job_spans import SpanSink, exporter_for

            if (exporter := exporter_for(self.tracing)) is not None:
                spans = SpanSink(exporter, environment)
                self._close_traces = spans.close
                sinks.append(spans)
        supervised = isinstance(engine, Supervisor)
        start = self.tracing.start if self.tracing is not None and mode is Served.QUEUE else lambda: None
        self.ledger = JobLedger(sinks, engine_reports=supervised, new_trace=start, traffic=traffic)
        self.reports = EngineReports(self.ledger.add_usage)
        if isinstance(engine, Supervisor):
            engine.on_report = self.reports

    def read_requests(self, requests: HttpRequests) -> None:
        """Have the guard's reports read."""
        self.reports.on("began", requests.began)
        self.reports.on("ended", requests.ended)

    def engine_refused(self) -> None:
        """The engine's queue was full, and the request is sent again."""
        if self._metrics is not None:
            self._metrics.engine_refused()

    async def expose(
        self, cleanup: AsyncExitStack, gauges: Gauges, on_scrape: Callable[[bytes], None] = lambda text: None
    ) -> None:
        """Serve the worker's and the engine's metrics at METRICS_ADDRESS, where that is set, until the cleanup.

        `on_scrape` gets the engine's text before the worker's own values are read.
        """
        if self._metrics is None or self._address is None:
            return
        from worker_vllm.observability.metrics_server import metrics_at

        async def engine_text(accept: str) -> bytes:
            text = b"" if self._engine.state is not EngineState.READY else await fetch_metrics(self._engine, accept)
            on_scrape(text)
            return text

        self._metrics.publish(gauges)
        await cleanup.enter_async_context(
            metrics_at(self._address, self._metrics.registry, engine_text, self.receipt)
        )

    async def close(self) -> None:
        """Record the jobs whose tokens the engine has not reported, and export the spans that wait."""
        self.ledger.flush()
        await asyncio.to_thread(self._close_traces)


def worker_metrics(mode: Served, traffic: Traffic, engine: ManagedEngine) -> WorkerMetrics:
    """The metrics of this process; an attached engine has neither ends nor a start."""
    from worker_vllm.observability.worker_metrics import EngineFacts, WorkerMetrics

    own = engine if isinstance(engine, Supervisor) else None
    facts = EngineFacts(
        state=lambda: engine.state.value,
        states=tuple(state.value for state in EngineState),
        ends=lambda: own.ends if own is not None else {},
        phases=lambda: own.last_start[1] if own is not None else (),
        start_s=lambda: own.last_start[0] if own is not None else 0.0,
    )
    return WorkerMetrics(mode, traffic, facts)
