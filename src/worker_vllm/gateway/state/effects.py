"""The effects that a state change returns; EndpointRuntime performs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job's status, output or stream has changed: wake the requests that wait for it."""

    job_id: str


@dataclass(frozen=True, slots=True)
class WorkQueued:
    """A job was queued: offer it to the waiting workers."""


@dataclass(frozen=True, slots=True)
class StopJob:
    """Send this worker a stop for this job."""

    worker_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class CallWebhook:
    """Post this status object to the client's webhook address."""

    url: str
    payload: dict[str, Any]


Effect: TypeAlias = JobChanged | WorkQueued | StopJob | CallWebhook
