"""What the queue worker needs from the side that runs jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker_vllm.observability.job_ledger import JobLedger
from worker_vllm.serverless.delivery.job_run import Handler, Redact, unredacted
from worker_vllm.serverless.intake.take_loop import LoadReport, no_load_report


@dataclass(frozen=True, slots=True)
class JobService:
    """Runs jobs, reports the engine's load, removes secrets from errors before they are posted, records each job."""

    handle: Handler
    load: LoadReport = no_load_report
    redact: Redact = unredacted
    ledger: JobLedger = field(default_factory=JobLedger)
