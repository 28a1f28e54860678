"""`worker-vllm local` with a fleet of echo engines, and the workers API as a test uses it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.support.http import Answer, Http
from tests.support.processes import Process, running
from tests.support.stack import LOCAL

SLOW = {"ECHO_TPOT_MS": "20", "MAX_CONCURRENCY": "1", "MAX_NUM_SEQS": "1"}  # one job at a time, 20 ms for a letter
PROMPT = "fifty letters take a second with twenty ms for each"


@dataclass(frozen=True, slots=True)
class FleetStack:
    """A running gateway with its fleet."""

    process: Process
    http: Http

    async def report(self) -> dict[str, Any]:
        """GET /console/api/workers."""
        found: dict[str, Any] = (await self.http.get("/console/api/workers")).json
        return found

    async def workers(self) -> dict[str, dict[str, Any]]:
        """The workers by id."""
        return {worker["id"]: worker for worker in (await self.report())["workers"]}

    async def states(self) -> dict[str, str]:
        """The workers' states by id."""
        return {worker_id: worker["state"] for worker_id, worker in (await self.workers()).items()}

    async def until(self, **states: int) -> dict[str, dict[str, Any]]:
        """Wait until there are so many workers in these states, and none in another."""
        while True:
            workers = await self.workers()
            counted = [worker["state"] for worker in workers.values()]
            if {state: counted.count(state) for state in counted} == {s: n for s, n in states.items() if n}:
                return workers
            await asyncio.sleep(0.02)

    async def until_serving(self, count: int) -> None:
        """Wait until so many workers are idle or running."""
        while sum(state in ("idle", "running") for state in (await self.states()).values()) != count:
            await asyncio.sleep(0.02)

    async def until_gone(self, worker_id: str) -> None:
        """Wait until a worker's process has ended."""
        while worker_id in await self.workers():
            await asyncio.sleep(0.02)

    async def operate(self, worker_id: str, operation: str) -> Answer:
        """POST an operation."""
        return await self.http.post(f"/console/api/workers/{worker_id}/{operation}")

    async def events(self, worker_id: str) -> list[str]:
        """What happened to a worker, in order."""
        return [event["what"] for event in (await self.report())["events"] if event["worker_id"] == worker_id]

    async def run(self, prompt: str = PROMPT) -> str:
        """Submit a native job that repeats the prompt; its id."""
        job = {"prompt": prompt, "sampling_params": {"max_tokens": len(prompt)}}
        return str((await self.http.post("/v2/local/run", {"input": job})).json["id"])

    async def answer(self, job_id: str) -> tuple[str, str]:
        """State and text of a job, once it has ended."""
        while (found := (await self.http.get(f"/v2/local/status-sync/{job_id}?wait=20000")).json)["status"] in (
            "IN_QUEUE",
            "IN_PROGRESS",
        ):
            pass
        output = found.get("output")
        text = "".join(output[0]["choices"][0]["tokens"]) if isinstance(output, list) else str(found)
        return found["status"], text


@contextlib.asynccontextmanager
async def fleet(
    *arguments: str, environment: dict[str, str] | None = None, engine: str = "echo", start_s: float = 60
) -> AsyncIterator[FleetStack]:
    """The stack of these arguments, once it is ready."""
    with tempfile.TemporaryDirectory(prefix="wf-") as directory:
        variables = {"TMPDIR": directory, "DRAIN_TIMEOUT": "5", **(environment or {})}
        with running([*LOCAL, "--engine", engine, *arguments], variables) as process:
            ready = await asyncio.to_thread(process.line, "Ready: ", start_s)
            base = ready.split("Ready: ")[1].strip()
            async with Http(base.rsplit("/", 2)[0]) as http:
                yield FleetStack(process, http)
