"""The names of the models that the engine serves, read from the engine's own list.

The settings would not do: an attached engine has its own names, and adapters are loaded at run time.
"""

from __future__ import annotations

from worker_vllm.engine.interface import EngineRequest
from worker_vllm.errors import EngineReportedError, WorkerError
from worker_vllm.jobs.request.routes import MODELS
from worker_vllm.jobs.run.engine_calls import EngineCalls


class ServedModels:
    """The engine's model list. The default name is cached, the list is not."""

    def __init__(self, calls: EngineCalls) -> None:
        self._calls = calls
        self._default: str | None = None

    async def default(self) -> str | None:
        """The model's name for requests that have none; None when the engine returns no list."""
        if self._default is None:
            self._default = next(iter(await self.names()), None)
        return self._default

    async def names(self) -> list[str]:
        """Every name that the engine serves now, adapters included; empty when the engine returns no list."""
        try:
            answer = await self._calls.json_object(EngineRequest("GET", MODELS))
        except WorkerError:
            return []
        return [str(model["id"]) for model in answer.get("data") or () if isinstance(model, dict) and "id" in model]

    async def explain(self, error: EngineReportedError, model: object) -> EngineReportedError:
        """The engine's 404 for a model that it does not serve, with the served names added to its message."""
        names = await self.names()
        if not isinstance(model, str) or model in names or not names:
            return error
        missing = [name for name in names if name not in error.message]
        if not missing:
            return error
        message = f"{error.message.rstrip()} Served here: {', '.join(names)}."
        return error.with_message(message)
