"""Translates OpenAI bodies: the fields that the specification documents and vLLM 0.32 ignores or refuses.

Everything else is passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.jobs.request.best_of import Ranking, extract_ranking
from worker_vllm.jobs.request.guided_decoding import GUIDED_KEYS, translate_guided
from worker_vllm.jobs.request.routes import Family, Route

TRANSLATED = (Family.CHAT, Family.COMPLETIONS)
RANKED_KEYS = ("best_of", "early_stopping")


def translate_body(
    route: Route, body: Mapping[str, Any], max_logprobs: int
) -> tuple[Mapping[str, Any], Ranking | None]:
    """The body for the engine, the same object when no field needs translation, and its ranking, if any.

    Raises RequestError for a field that the engine cannot obey.
    """
    if route.family not in TRANSLATED:
        return body, None
    if any(key in body for key in GUIDED_KEYS):
        body = translate_guided(body)
    messages = body.get("messages")
    if route.family is Family.CHAT and isinstance(messages, str):
        body = {**body, "messages": [{"role": "user", "content": messages}]}
    if any(key in body for key in RANKED_KEYS):
        return extract_ranking(body, max_logprobs)
    return body, None


def lacks_model(route: Route, body: Mapping[str, Any]) -> bool:
    """Whether the body needs the served model's name."""
    return route.needs_model and not body.get("model")
