"""The requests of http mode, which the guard reports: when one goes to the engine, and when it is over.

The guard works inside the engine's process, or inside this one for an attached engine. A report is accepted only with
the token that the guard got with its settings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from worker_vllm.engine.records.events import RequestInFlight
from worker_vllm.observability.job_ledger import JobLedger
from worker_vllm.observability.job_record import JobRecord
from worker_vllm.observability.trace_context import TraceContext

MOST_OPEN = 10_000  # requests; beyond it the oldest is given up


class HttpRequests:
    """Keeps the record of every request between its two reports."""

    def __init__(self, ledger: JobLedger, token: str, served: Sequence[str]) -> None:
        self._ledger = ledger
        self._token = token
        self._served = tuple(served)
        self.stopping = False  # the worker ends the requests that still run
        self._open: dict[str, JobRecord] = {}

    def began(self, fields: Mapping[str, Any]) -> None:
        """A request goes to the engine."""
        if fields["token"] == self._token:
            if len(self._open) >= MOST_OPEN:
                self._ledger.close(self._open.pop(next(iter(self._open))))
            self._open[fields["key"]] = self._record(fields)

    def ended(self, fields: Mapping[str, Any]) -> None:
        """A request is over, whether it went to the engine or not."""
        if fields["token"] != self._token:
            return
        record = self._open.pop(fields["key"], None)
        if record is None:
            if "id" not in fields:  # its first report was too long, or it was given up
                return
            record = self._record(fields)
        record.generated_at = record.ended_at = fields["at"]
        if record.streamed and fields["status"] < 400 and record.engine_first_token_s is None:
            record.first_token_at = fields["first_at"]
        record.posted_bytes = fields["bytes"]
        record.events, record.last_usage = fields["events"], fields["usage"].encode()
        if not fields["complete"]:
            self._cut_off(record, left=fields["left"])
        elif (status := fields["status"]) >= 400:
            record.outcome, record.status = "failed" if status >= 500 else "refused", status
            record.error = fields["error"] or "EngineReportedError"
            if status == 404:
                record.unknown_model()
            record.waiting.clear()
        self._ledger.close(record)

    def in_flight(self) -> tuple[RequestInFlight, ...]:
        """The requests that are not over, for a crash bundle; their bodies went past the worker."""
        now = time.monotonic()
        records = self._open.values()
        return tuple(RequestInFlight(each.job_id, each.route, now - each.taken_at, None) for each in records)

    def engine_ended(self) -> None:
        """The engine's process has gone, and with it every request that it was working on."""
        for record in self._open.values():
            self._cut_off(record, left=False)
            record.waiting.clear()
            self._ledger.close(record)
        self._open.clear()

    def _cut_off(self, record: JobRecord, *, left: bool) -> None:
        """The response is not complete: the client left, the worker stops, or the engine failed."""
        if left:
            record.end("aborted", "client")
        elif self.stopping:
            record.end("stopped", "worker")
        else:
            record.outcome, record.error, record.status = "failed", "EngineUnavailable", 503

    def _record(self, fields: Mapping[str, Any]) -> JobRecord:
        record = self._ledger.open(fields["id"])
        record.kind, record.route, record.streamed = "http", fields["route"], fields["stream"]
        record.taken_at = record.sent_at = fields["started_at"]
        record.taken_ns = fields["started_ns"]
        record.note_model(fields["model"], self._served)
        if fields["trace"] is not None:
            record.trace = TraceContext(*fields["trace"])
        if fields["tag"]:
            record.expect(fields["tag"])
        return record
