"""The unfinished jobs of each worker. Pure."""

from __future__ import annotations

from worker_vllm.gateway.state.job import Job


class RunningJobs:
    """A job is here while its worker has it; a worker without jobs is not."""

    def __init__(self) -> None:
        self._by_worker: dict[str, dict[str, Job]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_worker.values()))

    def add(self, worker_id: str, job: Job) -> None:
        """The worker has this job."""
        self._by_worker.setdefault(worker_id, {})[job.id] = job

    def remove(self, job: Job) -> None:
        """The job's worker has it no more."""
        if job.worker is not None and (held := self._by_worker.get(job.worker)) is not None:
            held.pop(job.id, None)
            if not held:
                del self._by_worker[job.worker]

    def held_by(self, worker_id: str) -> list[Job]:
        """The jobs of this worker."""
        return list(self._by_worker.get(worker_id, {}).values())

    def busy(self) -> set[str]:
        """The ids of the workers with jobs."""
        return set(self._by_worker)
