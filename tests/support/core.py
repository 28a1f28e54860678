"""The worker core on an engine, without queue or gateway: a job's input in, its outputs and error out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.http import parse_events
from worker_vllm.engine.client.http import HttpEngine
from worker_vllm.errors import WorkerError
from worker_vllm.jobs.handler import JobHandler
from worker_vllm.jobs.output.output import Output
from worker_vllm.settings.types import JobSettings, Settings


@dataclass
class JobResult:
    """What a job produced: its outputs and, when it failed, its error."""

    outputs: list[Output] = field(default_factory=list)
    error: WorkerError | None = None

    @property
    def text(self) -> bytes:
        """Every output joined."""
        return b"".join(output.data for output in self.outputs)

    @property
    def items(self) -> list[Any]:
        """Every output as a JSON value."""
        return [json.loads(output.data) for output in self.outputs]

    @property
    def value(self) -> Any:
        """The only output's JSON value, of a job that succeeded."""
        assert self.error is None, self.error.to_json()
        assert len(self.outputs) == 1
        return self.items[0]

    @property
    def events(self) -> list[Any]:
        """The data of every event of a stream of a job that succeeded."""
        assert self.error is None, self.error.to_json()
        return parse_events(self.text)

    @property
    def failure(self) -> dict[str, Any]:
        """The error object that the job failed with."""
        assert self.error is not None, f"succeeded with {self.text!r}"
        found: dict[str, Any] = json.loads(self.error.to_json())
        return found


class Core:
    """A worker on an engine."""

    def __init__(self, worker: JobHandler) -> None:
        self.worker = worker

    async def run(self, given: Mapping[str, Any]) -> JobResult:
        """Run a job with this input to its end."""
        result = JobResult()
        try:
            async for output in self.worker.handle({"id": "job", "input": given}):
                result.outputs.append(output)
        except WorkerError as error:
            result.error = error
        return result

    async def openai(self, route: str, body: Any = None, **fields: Any) -> JobResult:
        """Run an OpenAI job."""
        return await self.run({"openai_route": route, "openai_input": body, **fields})


@contextlib.asynccontextmanager
async def core_on(url: str, **jobs: Any) -> AsyncIterator[Core]:
    """A worker core on the engine at `url`, with these job settings."""
    engine = HttpEngine(url)
    try:
        yield Core(JobHandler(engine, Settings(jobs=JobSettings(**jobs))))
    finally:
        await engine.aclose()
