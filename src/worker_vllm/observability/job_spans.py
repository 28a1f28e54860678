"""Each job as spans, exported with OpenTelemetry's SDK. Imported only where an endpoint is configured.

A job's spans are made when it is over, from its record, under the ids that its requests to the engine already named.
Attributes follow OpenTelemetry's conventions for generative AI.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from worker_vllm import __version__
from worker_vllm.observability.job_log import job_fields
from worker_vllm.observability.job_record import JobRecord
from worker_vllm.observability.trace_context import TraceContext
from worker_vllm.observability.tracing_settings import GRPC, HTTP, TracingSettings

log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
FLUSH_MS = 3000
SCOPE = InstrumentationScope("worker_vllm", __version__)
OPERATIONS = (
    ("chat", "chat"),
    ("/v1/messages", "chat"),
    ("completions", "text_completion"),
    ("responses", "generate_content"),
    ("embed", "embeddings"),
)


class SpanSink:
    """Exports the spans of ended jobs, in batches, from a thread of the SDK. Create it once; `close` flushes."""

    def __init__(self, exporter: SpanExporter, environment: Mapping[str, str]) -> None:
        attributes = {} if "OTEL_SERVICE_NAME" in environment else {SERVICE_NAME: "worker-vllm"}
        self._resource = Resource.create({**attributes, "service.version": __version__})
        self._processor = BatchSpanProcessor(exporter)

    def __call__(self, record: JobRecord) -> None:
        """Export the spans of one job; nothing for one whose trace is not sampled."""
        if record.trace is None or not record.trace.sampled:
            return
        for span in job_spans(record, self._resource):
            self._processor.on_end(span)

    def close(self) -> None:
        """Export what waits, for `FLUSH_MS` at most, and end."""
        self._processor.force_flush(FLUSH_MS)
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def exporter_for(settings: TracingSettings) -> SpanExporter | None:
    """The exporter of the configured protocol; None, with an error in the log, where there is none."""
    try:
        if settings.protocol == HTTP:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

            return HttpExporter(endpoint=settings.endpoint)
        if settings.protocol == GRPC:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            return GrpcExporter(endpoint=settings.endpoint)
    except ImportError as error:
        log.error("traces are not exported: no exporter for %s is installed: %s", settings.protocol, error)
        return None
    log.error(
        "traces are not exported: OTEL_EXPORTER_OTLP_PROTOCOL=%s: expected %s or %s", settings.protocol, HTTP, GRPC
    )
    return None


def job_spans(record: JobRecord, resource: Resource) -> list[ReadableSpan]:
    """The span of a job, and below it the one of its delivery after the engine's work was over."""
    trace = record.trace
    assert trace is not None
    operation = operation_of(record.route)
    end_ns = _ns(record, record.ended_at)
    events = [Event("first token", timestamp=_ns(record, record.first_token_at))] if record.first_token_at else []
    failed = record.error is not None
    whole = ReadableSpan(
        name=f"{operation} {record.model}" if record.model else operation,
        context=_context(trace, trace.span_id),
        parent=None if trace.parent_id is None else _context(trace, trace.parent_id, remote=True),
        resource=resource,
        attributes=attributes_of(record, operation),
        events=events,
        kind=SpanKind.SERVER if record.kind == "http" else SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR, record.error) if failed else Status(StatusCode.UNSET),
        start_time=record.taken_ns,
        end_time=end_ns,
        instrumentation_scope=SCOPE,
    )
    if record.generated_at is None or record.kind == "http":
        return [whole]
    delivery = ReadableSpan(
        name="deliver result",
        context=_context(trace, trace.child().span_id),
        parent=whole.context,
        resource=resource,
        attributes={"worker.job.id": record.job_id, "worker.job.bytes": record.posted_bytes},
        kind=SpanKind.CLIENT,
        start_time=_ns(record, record.generated_at),
        end_time=end_ns,
        instrumentation_scope=SCOPE,
    )
    return [whole, delivery]


def attributes_of(record: JobRecord, operation: str) -> dict[str, Any]:
    """The span's attributes: the conventions' names first, then what they have no name for."""
    tokens = record.tokens
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": record.adapter or record.model,
        "gen_ai.request.stream": record.streamed,
        "gen_ai.usage.input_tokens": tokens.prompt if tokens.source else None,
        "gen_ai.usage.output_tokens": tokens.completion if tokens.source else None,
        "gen_ai.usage.cache_read.input_tokens": tokens.cached if tokens.source else None,
        "gen_ai.server.time_to_first_token": record.first_token_s,
        "gen_ai.server.time_per_output_token": record.inter_token_s,
        "error.type": record.error,
        "http.route": record.route,
        "worker.job.id": record.job_id,
    }
    own = (
        "outcome",
        "status",
        "cancelled_by",
        "kind",
        "queue_delay_s",
        "engine_wait_s",
        "pieces",
        "bytes",
        "retries",
    )
    fields = job_fields(record)
    found |= {f"worker.job.{name}": fields.get(name) for name in own}
    return {name: value for name, value in found.items() if value is not None}


def operation_of(route: str) -> str:
    """The operation's name in the conventions, or the route's own last word."""
    return next((name for part, name in OPERATIONS if part in route), route.rpartition("/")[2] or "none")


def _context(trace: TraceContext, span_id: str, *, remote: bool = False) -> SpanContext:
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))


def _ns(record: JobRecord, at: float | None) -> int:
    """A moment of the record's monotonic clock as nanoseconds since 1970."""
    return record.taken_ns + round(((record.taken_at if at is None else at) - record.taken_at) * NANOSECONDS)
