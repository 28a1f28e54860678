"""The engine's model list without local paths: vLLM reports each model's directory on this machine as its `root`."""

from __future__ import annotations

from typing import Any

from worker_vllm.settings.sources.served_model import repository_name


def without_local_paths(answer: Any, served: str | None) -> Any:
    """A model list with every local path replaced by a repository name; any other value unchanged.

    `served` is the repository name of the engine's own model; None when it is unknown.
    """
    cards = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(cards, list):
        return answer
    return {**answer, "data": [_without_path(card, served) for card in cards]}


def _without_path(card: Any, served: str | None) -> Any:
    """A model card whose root is the repository instead of the directory with its files."""
    if not isinstance(card, dict) or not isinstance(root := card.get("root"), str):
        return card
    if not root.startswith("/"):
        return card
    own = served if card.get("parent") is None else None
    return {**card, "root": own or repository_name(root)}
