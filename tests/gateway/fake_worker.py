"""A worker driven by a test: one method for each request of the worker API, as RunPod's SDK sends it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.support.http import Answer, Http

FORM = {"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}  # as the SDK declares its JSON


class FakeWorker:
    """One worker of one endpoint; each has its own id."""

    def __init__(self, http: Http, worker_id: str = "w1", endpoint: str = "local") -> None:
        self.http = http
        self.id = worker_id
        self._base = f"/v2/{endpoint}"

    async def take(self) -> Answer:
        """Ask for one job."""
        return await self.http.get(f"{self._base}/job-take/{self.id}?gpu=x&job_in_progress=0")

    async def take_batch(self, count: int) -> Answer:
        """Ask for up to `count` jobs."""
        return await self.http.get(
            f"{self._base}/job-take-batch/{self.id}?gpu=x&batch_size={count}&job_in_progress=0"
        )

    async def stops(self) -> Answer:
        """Ask which jobs to stop."""
        return await self.http.get(f"{self._base}/job-stop/{self.id}?gpu=x")

    async def piece(self, job_id: str, output: Any) -> Answer:
        """Stream one value; bytes are sent as they are."""
        return await self._post("job-stream", job_id, output if isinstance(output, bytes) else {"output": output})

    async def done(self, job_id: str, body: Any) -> Answer:
        """Report the job's end."""
        return await self._post("job-done", job_id, body)

    async def ping(self, job_ids: Sequence[str] = (), more: str = "") -> Answer:
        """Send a heartbeat with the ids of the worker's jobs."""
        listed = f"&job_id={','.join(job_ids)}" if job_ids else ""
        return await self.http.get(f"{self._base}/ping/{self.id}?gpu=x{listed}&runpod_version=1.12.0{more}")

    async def _post(self, verb: str, job_id: str, body: Any) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return await self.http.post(f"{self._base}/{verb}/{self.id}/{job_id}?gpu=x&isStream=false", data)
