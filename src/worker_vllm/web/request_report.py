"""What the guard reports of each request: one report when it goes to the engine, one when it is over.

Standard library only: it runs inside the engine's process. It holds no part of a prompt, an answer or a key.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from worker_vllm.engine.child.report_line import write_report
from worker_vllm.jobs.request.routes import UNREPORTED, Route
from worker_vllm.observability.job_record import TAG_BYTES, USAGE_BYTES
from worker_vllm.observability.trace_context import parse
from worker_vllm.observability.tracing_settings import TracingSettings, tracing_settings
from worker_vllm.web.asgi import REQUEST_ID, Exchange, header_values, without

TRACEPARENT = b"traceparent"
NAME_LENGTH = 200

Report = Callable[[dict[str, Any]], None]


class RequestReporter:
    """Reports the requests of one guard. Without a token nothing is reported, and no request is changed.

    `report` is given where the guard shares the worker's process: the engine behind it then reports no usage, so that
    its responses are read for it.
    """

    def __init__(
        self,
        token: str,
        report: Report | None = None,
        environment: Mapping[str, str] = os.environ,
        *,
        traced: bool = False,
    ) -> None:
        self._token = token
        self.reads_usage = report is not None
        self._report = report or write_report
        self._tracing: TracingSettings | None = tracing_settings(environment) if traced else None

    @property
    def active(self) -> bool:
        """Whether requests are reported."""
        return bool(self._token)

    def began(self, exchange: Exchange, route: Route, body: Mapping[str, Any]) -> None:
        """The request goes to the engine: give it an id that the engine's own reports name, and its trace."""
        if not self._token:
            return
        exchange.reported = True
        exchange.route = route.path
        asked = body.get("model")
        exchange.model = asked[:NAME_LENGTH] if isinstance(asked, str) else None
        exchange.streamed = bool(body.get("stream"))
        own = []
        if self._tracing is not None:
            given = header_values(exchange.scope["headers"], TRACEPARENT)
            trace = self._tracing.start(parse(given[0].decode("latin-1")) if len(given) == 1 else None)
            exchange.trace = (trace.trace_id, trace.span_id, trace.parent_id, trace.sampled)
            own.append((TRACEPARENT, trace.traceparent.encode()))
        if not self.reads_usage and route.path not in UNREPORTED:
            exchange.tag = secrets.token_hex(TAG_BYTES)
            own.append((REQUEST_ID, exchange.tag.encode() + b"." + exchange.request_id))
        names = [name for name, _ in own]
        exchange.scope["headers"] = [*without(exchange.scope["headers"], *names), *own]
        self._report({"began": self._fields(exchange)})

    def ended(self, exchange: Exchange, error: BaseException | None) -> None:
        """The request is over; `error` is why the guard refused it, if it did."""
        if not self._token:
            return
        self._report(
            {
                "ended": {
                    **(self._names(exchange) if exchange.reported else self._fields(exchange)),
                    "at": time.monotonic(),
                    "first_at": exchange.first_at,
                    "status": exchange.status,
                    "bytes": exchange.sent_bytes,
                    "error": type(error).__name__ if error is not None else None,
                    "complete": exchange.complete,
                    "left": exchange.left,
                    "events": exchange.events,
                    "usage": exchange.last_usage[-USAGE_BYTES:].decode("latin-1"),
                }
            }
        )

    def _names(self, exchange: Exchange) -> dict[str, Any]:
        """What every report has: why it is trusted, and its request."""
        return {"token": self._token, "key": exchange.key}

    def _fields(self, exchange: Exchange) -> dict[str, Any]:
        """What the first report of a request tells."""
        return {
            **self._names(exchange),
            "id": exchange.request_id.decode(),
            "tag": exchange.tag,
            "route": exchange.route,
            "model": exchange.model,
            "stream": exchange.streamed,
            "trace": exchange.trace,
            "started_at": exchange.started,
            "started_ns": exchange.started_ns,
        }
