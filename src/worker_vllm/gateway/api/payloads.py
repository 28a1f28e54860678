"""The bodies of the gateway's API as types, for its description; the operations read them by hand, with better words.

Imported only when the description is asked for: pydantic costs more than the gateway's whole start.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
Milliseconds = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Policy(BaseModel):
    """Limits of one job, in milliseconds."""

    executionTimeout: Annotated[float, Field(ge=5_000, le=604_800_000)] | None = None
    ttl: Annotated[float, Field(ge=10_000, le=604_800_000)] | None = None
    lowPriority: bool | None = None


class JobRequest(BaseModel):
    """A job. Other members are dropped; `s3Config` and the like go to the worker as they are."""

    input: Any
    webhook: Annotated[str, Field(pattern="^https?://")] | None = None
    webhookV2: Any = None
    policy: Policy | None = None
    s3Config: Any = None


class JobAccepted(BaseModel):
    """A job that waits, or was cancelled."""

    id: str
    status: State


class JobStatus(BaseModel):
    """A job as clients see it; times in milliseconds."""

    id: str
    status: State
    delayTime: Milliseconds | None = None
    executionTime: Milliseconds | None = None
    workerId: str | None = None
    output: Any = None
    error: str | None = None
    retries: Count | None = None


class StreamPiece(BaseModel):
    """One value that the worker has streamed."""

    output: Any


class StreamRead(BaseModel):
    """The pieces since the last call."""

    status: State
    stream: list[StreamPiece]


class Purged(BaseModel):
    """How many jobs were cancelled."""

    removed: Count
    status: Literal["completed"]


class JobCounts(BaseModel):
    """Jobs by state; ended ones since the endpoint's start."""

    completed: Count
    failed: Count
    inProgress: Count
    inQueue: Count
    retried: Count


class WorkerCounts(BaseModel):
    """Workers by state."""

    idle: Count
    initializing: Count
    ready: Count
    running: Count
    throttled: Count
    unhealthy: Count


class EndpointHealth(BaseModel):
    """The endpoint's jobs and workers."""

    jobs: JobCounts
    workers: WorkerCounts


class Metrics(BaseModel):
    """The workers, and which of them may take jobs."""

    readyWorkers: list[str]
    workers: WorkerCounts


class Requests(BaseModel):
    """The jobs that the endpoint holds, newest first."""

    requests: list[JobStatus]


class JobForWorker(BaseModel):
    """A job as a worker gets it; what the client sent along stands beside it."""

    model_config = ConfigDict(extra="allow")

    id: str
    delayTime: Milliseconds
    retries: Count
    input: Any


class JobsToStop(BaseModel):
    """The jobs of this worker that are to end."""

    jobsToStop: list[str]


class PieceReport(BaseModel):
    """One value of a job's stream."""

    output: Any = None


class ResultReport(BaseModel):
    """A job's end: an output or an error. With status IN_PROGRESS, its progress."""

    output: Any = None
    error: Any = None
    status: str | None = None
    stopPod: bool | None = None


class ErrorAnswer(BaseModel):
    """What is wrong, and what to do."""

    error: str


class OpenAIProblem(BaseModel):
    """What is wrong, in the form of the API whose route it is."""

    model_config = ConfigDict(extra="allow")

    error: Any
