"""What the queue worker needs from the side that runs jobs."""

from __future__ import annotations

from dataclasses import dataclass

from worker_vllm.serverless.delivery.job_run import Handler, Redact, unredacted
from worker_vllm.serverless.intake.take_loop import LoadReport, no_load_report


@dataclass(frozen=True, slots=True)
class JobService:
    """Runs jobs, reports the engine's load, and removes secrets from error messages before they are posted."""

    handle: Handler
    load: LoadReport = no_load_report
    redact: Redact = unredacted
