"""The line that each job leaves in the log when it is over. It holds no prompt and no answer."""

from __future__ import annotations

import logging
import re
from typing import Any

from worker_vllm.observability.job_record import JobRecord
from worker_vllm.observability.logging import current_job

SHOWN_IDS = 4
SPACE = re.compile(r"\s")
log = logging.getLogger("worker_vllm.jobs.line")

# Field → its meaning, in the order of the line; docs/observability.md is generated from it.
FIELDS: dict[str, str] = {
    "outcome": "how it ended: see the label `outcome` below",
    "error": "the class of the error; absent without one",
    "status": "the error's HTTP status",
    "cancelled_by": "`platform`, `client`, `time limit` or `worker`",
    "kind": "`native`, `openai`, `route`, `http` or `invalid`",
    "route": "the engine's route",
    "model": "the model that was asked for",
    "adapter": "the LoRA adapter that was asked for",
    "stream": "whether a stream was asked for",
    "prompt_tokens": "tokens of the prompt, once for each sequence of `n`, as the engine counts them",
    "cached_tokens": "of these, found in the prefix cache",
    "completion_tokens": "tokens generated, those of an aborted stream included",
    "tokens_from": "who counted: `engine` (exact), `response` (the response's usage), `events` (an attached or dead "
    "engine: the events that arrived)",
    "queue_delay_s": "seconds in the platform's queue, where the job contains them",
    "engine_wait_s": "seconds in the engine's queue",
    "first_token_s": "seconds to the first token",
    "tokens_per_s": "tokens a second after the first",
    "duration_s": "seconds from the taking of the job to the end of its delivery",
    "pieces": "pieces of the stream that were posted",
    "bytes": "bytes that were posted",
    "retries": "requests and POSTs that were repeated",
    "engine_ids": "the names of its requests in the engine's log and in responses' ids, the first four",
    "trace_id": "the job's trace, where tracing is on",
}


def job_fields(record: JobRecord) -> dict[str, Any]:
    """The line's fields; those without a value are left out."""
    tokens = record.tokens
    counted = bool(tokens.source)
    values: dict[str, Any] = {
        "outcome": record.outcome,
        "error": record.error,
        "status": record.status,
        "cancelled_by": record.cancelled_by,
        "kind": record.kind,
        "route": record.route,
        "model": record.model,
        "adapter": record.adapter,
        "stream": record.streamed,
        "prompt_tokens": tokens.prompt if counted else None,
        "cached_tokens": tokens.cached if counted else None,
        "completion_tokens": tokens.completion if counted else None,
        "tokens_from": tokens.source or None,
        "queue_delay_s": _rounded(record.queue_delay_s),
        "engine_wait_s": _rounded(record.engine_wait_s),
        "first_token_s": _rounded(record.first_token_s),
        "tokens_per_s": _rounded(record.tokens_per_s, 1),
        "duration_s": _rounded(record.duration_s),
        "pieces": record.pieces,
        "bytes": record.posted_bytes,
        "retries": record.retries,
        "engine_ids": " ".join(record.tags[:SHOWN_IDS]) or None,
        "trace_id": record.trace.trace_id if record.trace is not None else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def write_job_line(record: JobRecord) -> None:
    """Log one line for a job that is over; in JSON the fields are an object beside the message."""
    if not log.isEnabledFor(logging.INFO):
        return
    fields = job_fields(record)
    token = current_job.set(record.job_id)
    try:
        text = " ".join(f"{name}={_shown(value)}" for name, value in fields.items() if name != "outcome")
        log.info("job %s: %s", record.outcome, text, extra={"fields": fields})
    finally:
        current_job.reset(token)


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return repr(text) if SPACE.search(text) else text
