"""What must be done after a state change: the closed vocabulary between the pure state and whoever performs I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class JobChanged:
    """Wake whoever waits for this job: its status, output or stream is not what it was."""

    job_id: str


@dataclass(frozen=True, slots=True)
class WorkQueued:
    """There is work: offer it to the workers that wait."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Tell this worker to stop this job."""

    worker_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class CallWebhook:
    """Post this status object to the address the client gave."""

    url: str
    payload: dict[str, Any]


Effect: TypeAlias = JobChanged | WorkQueued | StopJob | CallWebhook
