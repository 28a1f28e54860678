"""A request whose sequences are ranked before anybody sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_vllm.core.exchange import Exchange
from worker_vllm.jobs.ask import json_ask
from worker_vllm.jobs.limits import RESULT_BYTES
from worker_vllm.jobs.ranking import Ranked, Ranking, ranked, ranking_body
from worker_vllm.jobs.routes import Family, Route

WORKING_BYTES = 4 * RESULT_BYTES  # sequences that are run and not kept, with what they are ranked by


async def ranked_answer(exchange: Exchange, route: Route, body: Mapping[str, Any], ranking: Ranking) -> Ranked:
    """Run every sequence whole and keep the best."""
    asked = ranking_body(body, ranking, chat=route.family is Family.CHAT)
    return ranked(await exchange.value(json_ask(route.path, asked), WORKING_BYTES), ranking, body)
