"""A worker whose log, metrics and traces are read back: a gateway, the worker, and a collector of spans."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.attached import gateway_process, worker_environment, worker_process
from tests.support.http import Http
from tests.support.http_mode import free_port
from tests.support.processes import Process

OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True, slots=True)
class Span:
    """One exported span."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    attributes: Mapping[str, Any]


class SpanCollector:
    """An OTLP receiver over HTTP: POST /v1/traces, protobuf, gzip or plain."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._news = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep every span of one export."""
        found = []
        for resource in request.resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}.get("service.name", "")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    values = {a.key: _value(a.value) for a in span.attributes}
                    found.append(Span(span.name, *ids, service, values))
        with self._news:
            self.spans += found
            self._news.notify_all()

    def of_trace(self, trace_id: str, count: int, timeout_s: float = 20.0) -> list[Span]:
        """The spans of a trace, once there are `count` of them."""
        with self._news:
            self._news.wait_for(lambda: sum(s.trace_id == trace_id for s in self.spans) >= count, timeout_s)
            return [span for span in self.spans if span.trace_id == trace_id]

    @contextlib.contextmanager
    def serving(self) -> Iterator[SpanCollector]:
        """Receive for the length of the block."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@dataclass(slots=True)
class Observed:
    """A running worker and what it shows."""

    gateway: str
    process: Process
    metrics: str
    collector: SpanCollector
    _read: int = field(default=0)

    def job_lines(self) -> dict[str, dict[str, Any]]:
        """The line of every job that is over, by its id; fails when a job has two."""
        found: dict[str, dict[str, Any]] = {}
        for line in self.process.output().splitlines():
            if '"job": {' in line:
                parsed = json.loads(line)
                assert parsed["requestId"] not in found, line
                found[parsed["requestId"]] = parsed["job"]
        return found

    def line_of(self, job_id: str) -> dict[str, Any]:
        """The line of one job, once it is there."""
        self.process.line(f'"requestId": "{job_id}", "job": {{', 20)
        return self.job_lines()[job_id]

    async def scrape(self, accept: str = "") -> str:
        """The metrics' text."""
        async with Http(self.metrics, {"Accept": accept} if accept else None) as http:
            return (await http.get("/metrics")).body.decode()


@contextlib.contextmanager
def observed_worker(settings: Mapping[str, str], *, traced: bool = True) -> Iterator[Observed]:
    """A queue worker with its gateway; everything on."""
    address = f"127.0.0.1:{free_port()}"
    with SpanCollector().serving() as collector, gateway_process("--set", "cancel_on_disconnect=on") as gateway:
        environment = {
            **worker_environment(gateway, "w1"),
            "METRICS_ADDRESS": address,
            "LOG_FORMAT": "json",
            **({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"} if traced else {}),
            **settings,
        }
        with worker_process(environment) as process:
            yield Observed(gateway, process, f"http://{address}", collector)
