"""The reports that the engine's processes write into their log for the worker, parsed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from worker_vllm.observability.job_record import RequestUsage

log = logging.getLogger(__name__)


class EngineReports:
    """Passes each report on to the one who wants its kind."""

    def __init__(self, on_usage: Callable[[RequestUsage], None]) -> None:
        self._on: dict[str, Callable[[Any], None]] = {"usage": lambda fields: on_usage(RequestUsage(**fields))}

    def on(self, kind: str, reader: Callable[[Mapping[str, Any]], None]) -> None:
        """Have `reader` called for the reports of this kind."""
        self._on[kind] = reader

    def __call__(self, line: bytes) -> None:
        """One report as it was written. One that cannot be read is logged, and nothing more."""
        try:
            self.take(json.loads(line))
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            log.warning("a report of the engine cannot be read: %s: %.200r", error, line)

    def take(self, report: Mapping[str, Any]) -> None:
        """One parsed report. Raises what the reader of its kind raises for fields that it does not expect."""
        for kind, content in report.items():
            if kind in self._on:
                self._on[kind](content)
