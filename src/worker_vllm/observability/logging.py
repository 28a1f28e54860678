"""Log lines: JSON on the platform, text elsewhere; each with its job's id and without secrets.

Secrets are redacted by their value in every line: the worker's, the engine's, and tracebacks.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, TextIO

from worker_vllm.settings.redaction import Redactor
from worker_vllm.settings.types import Secret

# Set in each job's task; every line logged in that task contains the id.
current_job: ContextVar[str | None] = ContextVar("current_job", default=None)

ON_PLATFORM = ("RUNPOD_ENDPOINT_ID", "RUNPOD_POD_ID")


class JsonFormatter(logging.Formatter):
    """One JSON object per line; RunPod's console assigns a line to its job by `requestId` (SDK 1.12, rp_logger)."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record as a JSON line."""
        fields: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "message": self._redact(record.getMessage()),
            "source": getattr(record, "source", "worker"),
        }
        if job := current_job.get():
            fields["requestId"] = job
        if facts := getattr(record, "fields", None):
            fields["job"] = {name: self._redact(v) if isinstance(v, str) else v for name, v in facts.items()}
        if record.exc_info:
            fields["traceback"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """Time, level, message, job; the engine's own lines get a prefix and stay unchanged."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of text, followed by its traceback."""
        message = record.getMessage()
        if getattr(record, "source", "worker") == "engine":
            return self._redact(f"engine | {message}")
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        named = f"job={current_job.get()}"
        job = f" {named}" if current_job.get() and named not in message else ""
        line = f"{clock} {record.levelname:<7} {message}{job}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return self._redact(line)


def configure(
    log_format: str,
    level: str,
    environment: Mapping[str, str],
    secrets: Iterable[Secret],
    stream: TextIO = sys.stderr,
) -> None:
    """Write every log record of the process to `stream`; `log_format` is json, text, or auto (json on RunPod)."""
    wants_json = log_format == "json" or (log_format == "auto" and any(name in environment for name in ON_PLATFORM))
    redact = Redactor(secrets)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(redact) if wants_json else TextFormatter(redact))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
