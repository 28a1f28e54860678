"""Reports the tokens of each request to the worker that started this engine, as the real engine's process does."""

from __future__ import annotations

from worker_vllm.echo.generation import Generation
from worker_vllm.echo.scheduler import RunningRequest
from worker_vllm.engine.child.report_line import write_report
from worker_vllm.engine.child.usage_reports import tag_of


def report_usage(generation: Generation, request: RunningRequest | None) -> None:
    """Write the report of one request that is over; nothing for one that the worker did not tag."""
    tag = tag_of(generation.request_id)
    if tag is None:
        return
    counts = {"prompt": 0, "completion": 0}
    if request is not None:
        counts = {"prompt": generation.prompt_tokens if request.prefilled else 0, "completion": request.made}
    write_report({"usage": {"tag": tag, "cached": 0, "unfinished": 0, **counts}})
