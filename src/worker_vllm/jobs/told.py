"""How a stream tells its reader that it failed."""

from __future__ import annotations

from worker_vllm.errors import WorkerError
from worker_vllm.jobs import sse
from worker_vllm.jobs.jsontext import dump
from worker_vllm.jobs.output import Output
from worker_vllm.jobs.parse import RouteJob
from worker_vllm.jobs.routes import Family


def told_in_band(error: WorkerError, job: RouteJob, *, raw: bool) -> Output:
    """The error as the last output of a stream, in the form that the route's own clients understand."""
    if not raw:
        return Output(dump([{"error": error.error}]))
    if job.route.family is Family.MESSAGES:
        event = sse.event({"type": "error", "error": error.error})
        return Output(b"event: error\n" + event, sse=True)
    return Output(sse.event({"error": error.error}) + sse.DONE, sse=True)
