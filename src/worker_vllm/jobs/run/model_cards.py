"""The engine's model list without local paths: vLLM reports each model's directory on this machine as its `root`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from worker_vllm.jobs.output.output import Output
from worker_vllm.json_bytes import dump
from worker_vllm.settings.sources.served_model import repository_name


async def without_paths(outputs: AsyncGenerator[Output, None], served: str | None) -> AsyncGenerator[Output, None]:
    """The outputs of a model list with every local path replaced by a repository name.

    `served` is the repository name of the engine's own model; None when it is unknown.
    """
    async with aclosing(outputs):
        async for output in outputs:
            yield _without_paths(output, served)


def _without_paths(output: Output, served: str | None) -> Output:
    try:
        answer = json.loads(output.data)
    except ValueError:
        return output
    cards = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(cards, list):
        return output
    answer["data"] = [_without_path(card, served) for card in cards]
    return Output(dump(answer), streamed=output.streamed)


def _without_path(card: Any, served: str | None) -> Any:
    """A model card whose root is the repository instead of the directory with its files."""
    if not isinstance(card, dict) or not isinstance(root := card.get("root"), str):
        return card
    if not root.startswith("/"):
        return card
    own = served if card.get("parent") is None else None
    return {**card, "root": own or repository_name(root)}
