"""Which names the engine serves: it is asked, so the answer is right for attached engines and adapters too."""

from __future__ import annotations

from worker_vllm.errors import EngineAnswer, WorkerError
from worker_vllm.jobs.request.engine_request import Ask
from worker_vllm.jobs.request.routes import MODELS
from worker_vllm.jobs.run.engine_calls import EngineCalls


class ServedModels:
    """The engine's own list of models."""

    def __init__(self, exchange: EngineCalls) -> None:
        self._exchange = exchange
        self._default: str | None = None

    async def default(self) -> str | None:
        """The name to fill in where a request names none; None when the engine does not tell."""
        if self._default is None:
            self._default = next(iter(await self.names()), None)
        return self._default

    async def names(self) -> list[str]:
        """Every name that the engine serves now, adapters included; empty when it does not tell."""
        try:
            answer = await self._exchange.value(Ask("GET", MODELS))
        except WorkerError:
            return []
        return [str(model["id"]) for model in answer.get("data") or () if isinstance(model, dict) and "id" in model]

    async def explain(self, error: EngineAnswer, model: object) -> EngineAnswer:
        """The engine's 404 for a model that it does not serve, with every right name in its message."""
        names = await self.names()
        if not isinstance(model, str) or model in names or not names:
            return error
        missing = [name for name in names if name not in error.message]
        if not missing:
            return error
        message = f"{error.message.rstrip()} Served here: {', '.join(names)}."
        return error.reworded(message)
