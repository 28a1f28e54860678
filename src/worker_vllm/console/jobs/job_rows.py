"""The rows of the job table with revisions, so that a page asks only for what has changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_vllm.console.jobs.job_history import JobHistory
from worker_vllm.console.jobs.job_view import Wall, describe_input, row
from worker_vllm.gateway.state.job import Job

KEPT_REMOVALS = 20_000


@dataclass(slots=True)
class _Row:
    signature: tuple[object, ...]
    described: tuple[str, str]
    payload: dict[str, Any]
    revision: int


@dataclass(slots=True)
class EndpointRows:
    """The rows of one endpoint, as of the last refresh."""

    rows: dict[str, _Row] = field(default_factory=dict)
    seen_changes: int = -1


class JobRows:
    """All rows; `refresh` compares them with the endpoints' jobs."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._endpoints: dict[str, EndpointRows] = {}
        self._removals: deque[tuple[int, str]] = deque(maxlen=KEPT_REMOVALS)
        self.revision = 0

    def refresh(self, endpoint: str, jobs: Mapping[str, Job], history: JobHistory) -> None:
        """Update the rows of an endpoint; does nothing when nothing has happened since the last call."""
        known = self._endpoints.setdefault(endpoint, EndpointRows())
        if known.seen_changes == history.changes and len(known.rows) == len(jobs):
            return
        known.seen_changes = history.changes
        self.revision += 1
        for job_id in known.rows.keys() - jobs.keys():
            del known.rows[job_id]
            self._removals.append((self.revision, f"{endpoint}/{job_id}"))
        history.retain(dict(jobs))
        for job in jobs.values():
            self._update(endpoint, known.rows, job, history)

    def _update(self, endpoint: str, rows: dict[str, _Row], job: Job, history: JobHistory) -> None:
        trace = history.trace(job.id)
        signature = (job.status, job.retries, job.started, job.ended, job.worker, trace.pieces, len(trace.steps))
        old = rows.get(job.id)
        if old is not None and old.signature == signature:
            return
        described = describe_input(job.submission.input) if old is None else old.described
        payload = row(job, trace, described, self._wall)
        payload |= {"endpoint": endpoint, "version": self.revision}
        rows[job.id] = _Row(signature, described, payload, self.revision)

    def since(self, revision: int) -> dict[str, Any]:
        """The rows that changed and the keys that went after this revision."""
        changed = [row.payload for row in self._all() if row.revision > revision]
        removed = [key for removal, key in self._removals if removal > revision]
        return {"changed": changed, "removed": removed}

    def _all(self) -> Iterable[_Row]:
        for endpoint in self._endpoints.values():
            yield from endpoint.rows.values()
