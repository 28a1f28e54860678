"""A failure that the job's stream has already told."""

from __future__ import annotations

from worker_vllm.errors import WorkerError


class StreamAlreadyFailed(Exception):
    """The job has failed with `error`, and its stream says so already."""

    def __init__(self, error: WorkerError) -> None:
        super().__init__(str(error))
        self.error = error
