"""Jobs as rows of the file and back. Pure: times in the file are wall-clock seconds, `wall_offset` converts them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from worker_vllm.gateway.state.job import ABSENT, Job, Status, Submission
from worker_vllm.json_bytes import dump

Row: TypeAlias = tuple[Any, ...]
Key: TypeAlias = tuple[str, str]  # endpoint, job id


class Stored(Enum):
    """What the file has of a job."""

    WITHOUT_OUTPUT = auto()
    WITH_OUTPUT = auto()

    @classmethod
    def of(cls, job: Job) -> Stored:
        """What it has once the job's present state is written."""
        return cls.WITH_OUTPUT if job.terminal and job.output is not ABSENT else cls.WITHOUT_OUTPUT


@dataclass(slots=True)
class Batch:
    """What one transaction writes. `outputs` are values, encoded when it is written; `bytes` is about its size.

    `stored` is what the file has of the jobs afterwards.
    """

    submissions: list[Row] = field(default_factory=list)
    jobs: list[Row] = field(default_factory=list)
    outputs: list[tuple[str, str, Any]] = field(default_factory=list)
    retried: list[Key] = field(default_factory=list)  # jobs whose stored output no longer counts
    deleted: list[Key] = field(default_factory=list)
    endpoints: list[Row] = field(default_factory=list)
    workers: list[Row] = field(default_factory=list)
    stored: dict[Key, Stored] = field(default_factory=dict)
    bytes: int = 0

    def add(self, endpoint: str, job: Job, wall_offset: float, stored: Stored | None) -> None:
        """Add the present state of a job, given what the file has of it."""
        if stored is None:
            self.submissions.append(submission_row(endpoint, job))
            self.bytes += job.submission.size
        self.jobs.append(job_row(endpoint, job, wall_offset))
        self.stored[endpoint, job.id] = Stored.of(job)
        if job.terminal and job.output is not ABSENT:
            self.outputs.append((endpoint, job.id, job.output))
            self.bytes += job.result_bytes
        elif stored is Stored.WITH_OUTPUT:
            self.retried.append((endpoint, job.id))


def submission_row(endpoint: str, job: Job) -> Row:
    """What never changes about a job."""
    asked = job.submission
    return endpoint, job.id, asked.input, asked.forwarded, asked.sync, asked.execution_timeout_s, _text(asked.webhook)


def job_row(endpoint: str, job: Job, wall_offset: float) -> Row:
    """What changes about a job."""
    return (
        endpoint,
        job.id,
        job.status.value,
        job.worker,
        job.created + wall_offset,
        None if job.started is None else job.started + wall_offset,
        None if job.ended is None else job.ended + wall_offset,
        job.submission.ttl_s,
        job.retries,
        _text(job.error),
        job.delivered,
        job.webhook_due,
        job.result_bytes if job.terminal else 0,
    )


def read_job(row: Row, wall_offset: float) -> Job:
    """The job of a joined row: its submission's columns, its own, its output."""
    (_, job_id, given, forwarded, sync, timeout_s, webhook, *state, output) = row
    status, worker, created, started, ended, ttl_s, retries, error, delivered, webhook_due, result_bytes = state
    return Job(
        id=job_id,
        submission=Submission(given, bool(sync), timeout_s, ttl_s, _read_text(webhook), forwarded),
        created=created - wall_offset,
        status=Status(status),
        worker=worker,
        started=None if started is None else started - wall_offset,
        ended=None if ended is None else ended - wall_offset,
        retries=retries,
        output=ABSENT if output is None else json.loads(output),
        error=_read_text(error),
        delivered=bool(delivered),
        webhook_due=bool(webhook_due),
        result_bytes=result_bytes,
    )


def _text(value: str | None) -> bytes | None:
    """Text from a client or a worker as JSON: half a surrogate pair is no UTF-8, which SQLite's own text must be."""
    return None if value is None else dump(value)


def _read_text(value: bytes | None) -> str | None:
    return None if value is None else str(json.loads(value))
